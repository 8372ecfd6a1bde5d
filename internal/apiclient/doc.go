// Package apiclient calls Fanmail's HTTP API for the command line.
//
// It guarantees:
//
//   - An error shows the server's message: it is a [*Problem] if the server sent
//     one, and names the status if not. If the server is unreachable, the error
//     names its address.
//   - The key is sent in the Authorization header only, and is in no error.
package apiclient
