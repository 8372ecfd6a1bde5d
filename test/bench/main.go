package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 2 {
		switch os.Args[1] {
		case receiverCommand:
			exit(receive())
		case riverCommand:
			exit(workRiver(ctx))
		case dispatcherCommand:
			os.Exit(dispatch())
		}
	}
	if len(os.Args) > 1 && os.Args[1] == smtpCommand {
		exit(benchSMTP(ctx, os.Args[2:]))
	}
	s, err := parse(os.Args[1:])
	if err != nil {
		exit(err)
	}
	exit(s.Run(ctx))
}

// parse reads the arguments of the bench. Workloads and systems that don't exist are an error.
func parse(args []string) (*Session, error) {
	var s Session
	var systems, only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&s.Quick, "quick", false, "short workloads, one round: a first look in under three minutes")
	flags.IntVar(&s.Rounds, "rounds", 0, "rounds of each workload; 0 means its own number, or one with --quick")
	flags.StringVar(&systems, "systems", "", "the systems to run, separated by commas: fanmail, river (500 workers), river-2000, river-5000; the first two by default")
	flags.StringVar(&only, "workloads", "", "the workloads to run, or groups of them, separated by commas; all by default")
	flags.StringVar(&s.Profiles, "profile", "", "directory for CPU profiles of the publisher and the dispatcher; no profiles by default")
	flags.StringVar(&s.Cache, "cache", "", "directory that keeps loaded tables for the next call, some 10 GB; they are not kept by default")
	flags.Float64Var(&s.Scale, "scale", 1, "multiplies the sizes of history and backlog, to try a workload")
	flags.StringVar(&s.Out, "out", filepath.Join("results", "latest.json"), "file for the results; the plots are written beside it")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	s.Systems, s.Workloads = list(systems), list(only)
	if _, err := s.workloads(); err != nil {
		return nil, err
	}
	_, err := s.systemNames()
	return &s, err
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func exit(err error) {
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
