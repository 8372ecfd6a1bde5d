package main

import (
	"context"
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
	var s Session
	var systems, only string
	flag.BoolVar(&s.Quick, "quick", false, "short workloads, one round: a first look in under three minutes")
	flag.IntVar(&s.Rounds, "rounds", 0, "rounds of each workload; 0 means its own number, or one with --quick")
	flag.StringVar(&systems, "systems", "", "the systems to run, separated by commas: fanmail, river (500 workers), river-2000, river-5000; the first two by default")
	flag.StringVar(&only, "workloads", "", "the workloads to run, or groups of them, separated by commas; all by default")
	flag.StringVar(&s.Profiles, "profile", "", "directory for CPU profiles of the publisher and the dispatcher; no profiles by default")
	flag.StringVar(&s.Cache, "cache", "", "directory that keeps loaded tables for the next call, some 10 GB; they are not kept by default")
	flag.Float64Var(&s.Scale, "scale", 1, "multiplies the sizes of history and backlog, to try a workload")
	flag.StringVar(&s.Out, "out", filepath.Join("results", "latest.json"), "file for the results; the plots are written beside it")
	flag.Parse()
	s.Systems, s.Workloads = list(systems), list(only)
	exit(s.Run(ctx))
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}
