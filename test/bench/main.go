// Command bench measures how fast Fanmail delivers, what that costs in CPU, and
// how long an event takes, as real processes on durable storage. The receiver is
// a process of its own and its CPU is not counted, nor is the producer's, which
// is this process.
//
// It prints a table and writes the same as JSON. Compare ratios of figures from
// one machine, not absolute ones.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "receiver" {
		exit(receive())
	}
	quick := flag.Bool("quick", false, "fewer events, for a first look")
	only := flag.String("workloads", "", "the workloads to run, separated by commas; all unless given")
	out := flag.String("out", filepath.Join("results", "latest.json"), "file for the results")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(bench(ctx, *quick, *only, *out))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func bench(ctx context.Context, quick bool, only, out string) error {
	dir, err := os.MkdirTemp("", "fanmail-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Postgres's user walks through it
		return fmt.Errorf("make a directory: %w", err)
	}
	fmt.Fprintln(os.Stderr, "building")
	fanmail, err := NewFanmail(ctx, filepath.Join(dir, "bin"))
	if err != nil {
		return err
	}
	systems := []System{fanmail}
	var results []Result
	for _, w := range workloads(quick) {
		if only != "" && !slices.Contains(strings.Split(only, ","), w.Name) {
			continue
		}
		for _, s := range systems {
			fmt.Fprintf(os.Stderr, "%s on %s: %d events\n", w.Name, s.Name(), w.Events)
			data := filepath.Join(dir, w.Name+"-"+s.Name())
			if err := os.Mkdir(data, 0o755); err != nil { //nolint:gosec // as above
				return fmt.Errorf("make a directory: %w", err)
			}
			res, err := run(ctx, w, s, data)
			if err != nil {
				return fmt.Errorf("%s on %s: %w", w.Name, s.Name(), err)
			}
			results = append(results, res)
			_ = os.RemoveAll(data)
		}
	}
	if len(results) == 0 {
		return fmt.Errorf("no workload is called %q", only)
	}
	if err := write(out, results); err != nil {
		return err
	}
	if err := table(os.Stdout, results); err != nil {
		return err
	}
	for _, r := range results {
		if r.N != r.Expected {
			err = errors.Join(err, fmt.Errorf("%s on %s: %d of %d arrived", r.Workload, r.System, r.N, r.Expected))
		}
	}
	return err
}

func write(out string, results []Result) error {
	b, err := json.MarshalIndent(results, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(out), 0o750)
	}
	if err == nil {
		err = os.WriteFile(out, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	return nil
}

func table(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "workload\tsystem\tdeliveries/s\tCPU s/1,000\tp50 ms\tp99 ms\tarrived\texpected\t")
	for _, r := range results {
		fmt.Fprintf(t, "%s\t%s\t%.0f\t%.3f\t%.1f\t%.1f\t%d\t%d\t\n", r.Workload, r.System, r.PerSecond, r.CPUPer1000, r.P50Millis, r.P99Millis, r.N, r.Expected)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	for _, r := range results {
		fmt.Fprintf(w, "%s on %s, CPU s/1,000 by part:", r.Workload, r.System)
		for _, part := range slices.Sorted(maps.Keys(r.CPUParts)) {
			fmt.Fprintf(w, " %s %.3f", part, r.CPUParts[part])
		}
		fmt.Fprintln(w)
	}
	return nil
}
