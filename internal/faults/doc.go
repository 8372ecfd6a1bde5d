// Package faults lets a test kill a process at an exact point of its work.
//
// [At] marks a point. It guarantees that a process which [Arm] was not called in loses one atomic load and nothing else.
// An armed process sends SIGKILL to itself when it passes its point for the N-th time. Nothing runs after that, deferred
// functions included.
//
// The commands arm themselves from the environment variable [Variable], and refuse to start if its value is invalid.
package faults
