// Package history is the record of a chaos run: what was offered and accepted,
// what the receivers saw and answered, which faults were made when, and which
// rows were left at the end.
//
// A history is a file of JSON lines, only ever appended to. It holds everything
// that a judgement needs, so that a run can be judged again from its file
// alone. All times are Unix microseconds of the rig's clock, which does not
// step during a run; rows bring the database's, on the same machine.
package history
