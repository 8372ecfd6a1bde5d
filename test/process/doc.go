// Package process builds Fanmail's commands and runs them as processes that a
// test or a benchmark can kill, start again and account for.
//
// It guarantees that a process has gone when [Process.Kill] or [Process.Stop]
// returns, and, on Linux, that none outlives the program that started it.
package process
