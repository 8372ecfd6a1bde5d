// Package signature signs webhooks and verifies them. Receivers may use it on
// its own: it imports nothing of Fanmail.
//
// Every POST carries two signatures of the same body:
//
//   - X-E2A-Signature: t=<unix>,v1=<hex hmac-sha256(key, "<t>.<body>")>, the
//     key being the whole secret string as it was shown, "whsec_" included.
//   - The Standard Webhooks headers webhook-id, webhook-timestamp and
//     webhook-signature: v1,<base64 hmac-sha256(key, "<id>.<t>.<body>")>, the
//     key being the bytes that the secret encodes after "whsec_".
//
// While a secret is being rotated both carry a signature of each secret.
// [Verify] accepts a request when either scheme holds for the secret and the
// time lies within the tolerance, and refuses it when one that is present does
// not hold.
package signature
