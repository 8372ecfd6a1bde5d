// Package freeport finds ports for servers that are told theirs before they
// start. A port that it gives is free, is given once in a process, and is none
// that an outgoing connection would take before the server listens on it.
package freeport
