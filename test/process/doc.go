// Package process builds Fanmail's commands and runs them as processes that a test or a benchmark can
// kill, restart and measure.
//
// It guarantees that a process has exited when [Process.Kill] or [Process.Stop] returns, and, on
// Linux, that no process outlives the program that started it.
package process
