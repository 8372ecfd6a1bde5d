// Package freeport finds TCP ports for servers that must know theirs before they start. It guarantees
// that a port is free, that one process gets it once, and that no outgoing connection takes it before
// the server listens.
package freeport
