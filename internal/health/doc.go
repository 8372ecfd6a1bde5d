// Package health says how a process's parts stand, and why.
//
// It guarantees:
//
//   - A [Component] keeps its last success and its last error, with their times. It
//     counts as failing after an error, until the next success.
//   - [Explain] finds the meaning and the remedy of an error of the database or the
//     broker in one table, from which docs/reference/faults.md is made. It tells errors
//     that end by themselves from those that end when somebody acts.
//   - [Beat] is a committed write. It shows that the process can write, and tells
//     `fanmail status` and `fanmail doctor` how the process stands.
package health
