package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Session is one call of the bench. The zero value runs everything in full and
// writes nothing.
type Session struct {
	// Quick takes the short workloads, one round each.
	Quick bool
	// Rounds of each workload; zero means its own number.
	Rounds int
	// Systems and Workloads to run, by name; all where empty.
	Systems, Workloads []string
	// Profiles is a directory for CPU profiles of Fanmail; "" takes none.
	Profiles string
	// Out is the file for the results; the plots lie beside it.
	Out string
}

// Run runs the workloads on the systems, writes what came out and prints it. A
// run that fails leaves the others standing; the errors are told at the end,
// as is a delivery of Fanmail that never came.
func (s *Session) Run(ctx context.Context) error {
	chosen, err := choose(workloads(s.Quick), s.Workloads, func(w Workload) string { return w.Name })
	if err != nil {
		return fmt.Errorf("workloads: %w", err)
	}
	if s.Quick && len(s.Workloads) == 0 {
		chosen = slices.DeleteFunc(chosen, func(w Workload) bool { return w.FullOnly })
	}
	names, err := choose([]string{"fanmail", "river"}, s.Systems, func(n string) string { return n })
	if err != nil {
		return fmt.Errorf("systems: %w", err)
	}
	dir, err := os.MkdirTemp("", "fanmail-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Postgres's user walks through it
		return fmt.Errorf("make a directory: %w", err)
	}
	var systems []System
	for _, name := range names {
		if name == "river" {
			systems = append(systems, &River{})
			continue
		}
		fmt.Fprintln(os.Stderr, "building")
		fanmail, err := NewFanmail(ctx, filepath.Join(dir, "bin"))
		if err != nil {
			return err
		}
		fanmail.Pprof = s.Profiles != ""
		systems = append(systems, fanmail)
	}
	var lines []Line
	var errs []error
	for i := range chosen {
		w := &chosen[i]
		if s.Rounds > 0 {
			w.Rounds = s.Rounds
		} else if s.Quick {
			w.Rounds = 1
		}
		of, err := s.rounds(ctx, w, systems, dir)
		lines, errs = append(lines, of...), append(errs, err)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	compare(lines)
	errs = append(errs, table(os.Stdout, lines))
	if s.Out != "" {
		errs = append(errs, write(s.Out, lines), plots(filepath.Dir(s.Out), lines))
	}
	for i := range lines {
		if l := &lines[i]; l.System == "fanmail" && l.N != l.Expected {
			errs = append(errs, fmt.Errorf("%s on %s: %d of %d arrived", l.Workload, l.System, l.N, l.Expected))
		}
	}
	return errors.Join(errs...)
}

// rounds runs a workload on the systems in turn, the other one first in every
// second round.
func (s *Session) rounds(ctx context.Context, w *Workload, systems []System, dir string) ([]Line, error) {
	runs := map[string][]Run{}
	var errs []error
	order := slices.Clone(systems)
	for round := range w.Rounds {
		for _, system := range order {
			fmt.Fprintf(os.Stderr, "%s, %s: %s, round %d of %d\n", w.Name, w.About, system.Name(), round+1, w.Rounds)
			data := filepath.Join(dir, fmt.Sprintf("%s-%s-%d", w.Name, system.Name(), round))
			if err := os.Mkdir(data, 0o755); err != nil { //nolint:gosec // Postgres's user walks through it
				return nil, fmt.Errorf("make a directory: %w", err)
			}
			began := time.Now()
			r, err := run(ctx, w, system, data, s.Profiles)
			_ = os.RemoveAll(data)
			fmt.Fprintf(os.Stderr, "  %.0f s\n", time.Since(began).Seconds())
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				err = fmt.Errorf("%s on %s: %w", w.Name, system.Name(), err)
				fmt.Fprintln(os.Stderr, err)
				errs = append(errs, err)
			}
			if r.Expected > 0 {
				runs[system.Name()] = append(runs[system.Name()], r)
			}
		}
		slices.Reverse(order)
	}
	var out []Line
	for _, system := range systems {
		if of := runs[system.Name()]; len(of) > 0 {
			out = append(out, newLine(w, system.Name(), of))
		}
	}
	return out, errors.Join(errs...)
}

// choose gives those of all that are wanted by name, in their own order; all
// where nothing is wanted. A name that none has is an error.
func choose[T any](all []T, wanted []string, name func(T) string) ([]T, error) {
	if len(wanted) == 0 {
		return all, nil
	}
	var out []T
	var known []string
	for _, t := range all {
		known = append(known, name(t))
		if slices.Contains(wanted, name(t)) {
			out = append(out, t)
		}
	}
	for _, n := range wanted {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("none is called %q; there are %s", n, strings.Join(known, ", "))
		}
	}
	return out, nil
}
