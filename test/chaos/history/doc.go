// Package history records a chaos run: what was offered and accepted, what the receivers got and answered, which faults
// were injected when, and which rows were left at the end.
//
// A history is an append-only file of JSON lines. It guarantees that a run can be checked from its file alone. All times are
// Unix microseconds of the rig's clock, which does not step during a run. Rows have the database's times, from the same
// machine.
package history
