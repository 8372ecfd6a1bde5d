// Package faults lets a test have a process die at an exact point of its work.
//
// [At] stands where a death would be most awkward. It guarantees that it costs
// one atomic load and does nothing, unless the process was started with
// FANMAIL_CRASH_AT=<point>[:n]: then the process sends itself SIGKILL when it
// passes the point for the n-th time (the first, unless n is given), and
// nothing of it runs on from there, deferred functions included. A process that
// is told a point that does not exist, or no number, refuses to start.
package faults
