// Package input says which times and texts Fanmail takes from outside.
//
// It guarantees that what it accepts can be stored in Postgres, read back, and
// written as JSON. Every input uses it: the API, the CLI and the client for Go
// programs. Package events makes the same checks of an event's texts by itself,
// because it imports the standard library alone.
package input
