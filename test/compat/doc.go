// Package compat compares the contracts of this repository with those of the last release, which released/ holds:
// docs/reference/versioning.md says what may change when. It reads files alone, most of which other tests compare with
// the code, so it needs neither the code nor a server.
//
// [Current] gathers the contracts, [Breaks] names what breaks a client, a receiver, an operator's files or a program, and
// [Accept] takes out what breaks.txt accepts. `make release-contract` writes the contracts of a new release.
package compat
