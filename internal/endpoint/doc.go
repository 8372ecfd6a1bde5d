// Package endpoint holds what the requests to one endpoint need beside its URL: static
// headers, credentials, a client certificate, and certificates to trust. Gateways in
// front of receivers ask for these.
//
// It guarantees:
//
//   - Settings that [Settings.Normalize] accepts can be sent: names and values of
//     headers are valid, none is one that the sender sets itself, and certificates and
//     keys belong together.
//   - [Settings.Masked] holds no secret, and neither does an error.
//
// It sends nothing; package attempt does.
package endpoint
