// Package apiclient speaks Fanmail's HTTP API for the command line.
//
// It guarantees that an error names what the server said: a [*Problem] where
// the server answered with one, and otherwise an error that names the address
// that was tried. A key is sent in the Authorization header alone and stands in
// no error.
package apiclient
