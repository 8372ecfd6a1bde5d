package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// TestMain runs the receiver or the worker if the test program is started as one.
func TestMain(m *testing.M) {
	var run func(context.Context) error
	if len(os.Args) == 2 {
		run = map[string]func(context.Context) error{
			receiverCommand: func(context.Context) error { return receive() },
			riverCommand:    workRiver,
			dispatcherCommand: func(context.Context) error {
				os.Exit(dispatch())
				return nil
			},
		}[os.Args[1]]
	}
	if run == nil {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
