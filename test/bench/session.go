package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Session is one call of the bench. The zero value runs everything in full and writes nothing.
type Session struct {
	// Quick runs the short workloads, one round each.
	Quick bool
	// Rounds of each workload. Zero means the workload's own number.
	Rounds int
	// Systems and Workloads to run, by name. Empty means all.
	Systems, Workloads []string
	// Profiles is a directory for CPU profiles of Fanmail. "" takes none.
	Profiles string
	// Cache is a directory for loaded tables. "" loads them for every call.
	Cache string
	// Scale multiplies the number of rows in the tables. Zero means 1.
	Scale float64
	// Out is the file for the results. The plots are written beside it.
	Out string
}

// Run runs the workloads on the systems, and prints and writes the results. After a failed run it goes
// on with the others. It returns the errors at the end; a delivery of Fanmail that never arrived is
// one.
func (s *Session) Run(ctx context.Context) error {
	chosen, err := s.workloads()
	if err != nil {
		return err
	}
	names, err := s.systemNames()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fanmail-bench-")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Postgres's user must enter it
		return fmt.Errorf("make a directory: %w", err)
	}
	systems, err := s.systems(ctx, names, dir)
	if err != nil {
		return err
	}
	var lines []Line
	var errs []error
	for i := 0; i < len(chosen); {
		group := chosen[i : i+1]
		for chosen[i].Group != "" && i+len(group) < len(chosen) && chosen[i+len(group)].Group == chosen[i].Group {
			group = chosen[i : i+len(group)+1]
		}
		i += len(group)
		of, err := s.rounds(ctx, group, systems, dir)
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

// workloads returns those that are asked for.
func (s *Session) workloads() ([]Workload, error) {
	chosen, err := choose(workloads(s.Quick, cmp.Or(s.Scale, 1)), s.Workloads, func(w Workload) []string { return []string{w.Name, w.Group} })
	if err != nil {
		return nil, fmt.Errorf("workloads: %w", err)
	}
	if s.Quick && len(s.Workloads) == 0 {
		chosen = slices.DeleteFunc(chosen, func(w Workload) bool { return w.FullOnly })
	}
	return chosen, nil
}

// systemNames returns those of the systems that are asked for.
func (s *Session) systemNames() ([]string, error) {
	asked := s.Systems
	if len(asked) == 0 {
		asked = []string{"fanmail", riverName}
	}
	names, err := choose(append([]string{"fanmail"}, riverNames()...), asked, func(n string) []string { return []string{n} })
	if err != nil {
		return nil, fmt.Errorf("systems: %w", err)
	}
	return names, nil
}

// systems builds the named systems below dir.
func (s *Session) systems(ctx context.Context, names []string, dir string) ([]System, error) {
	var systems []System
	for _, name := range names {
		if i := slices.Index(riverNames(), name); i >= 0 {
			systems = append(systems, &River{workers: riverWorkerCounts[i]})
			continue
		}
		fmt.Fprintln(os.Stderr, "building")
		fanmail, err := NewFanmail(ctx, filepath.Join(dir, "bin"))
		if err != nil {
			return nil, err
		}
		fanmail.Pprof, fanmail.Cache = s.Profiles != "", cmp.Or(s.Cache, filepath.Join(dir, "tables"))
		systems = append(systems, fanmail)
	}
	return systems, nil
}

// rounds runs the workloads of a group on the systems in turn, in reverse order in every second round.
func (s *Session) rounds(ctx context.Context, group []Workload, systems []System, dir string) ([]Line, error) {
	type pair struct {
		w      *Workload
		system System
	}
	var all []pair
	rounds := 0
	for i := range group {
		w := &group[i]
		if s.Rounds > 0 {
			w.Rounds = s.Rounds
		} else if s.Quick {
			w.Rounds = 1
		}
		rounds = max(rounds, w.Rounds)
		for _, system := range systems {
			if w.Only == "" || w.Only == system.Name() {
				all = append(all, pair{w, system})
			}
		}
	}
	runs := map[pair][]Run{}
	var errs []error
	order := slices.Clone(all)
	for round := range rounds {
		for _, p := range order {
			if round >= p.w.Rounds {
				continue
			}
			r, err := s.once(ctx, p.w, p.system, dir, round)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				errs = append(errs, err)
			}
			if r.Expected > 0 {
				runs[p] = append(runs[p], r)
			}
		}
		slices.Reverse(order)
	}
	var out []Line
	for _, p := range all {
		if of := runs[p]; len(of) > 0 {
			out = append(out, newLine(p.w, p.system.Name(), of))
		}
	}
	return out, errors.Join(errs...)
}

// once runs one workload on one system, with storage of its own below dir.
func (s *Session) once(ctx context.Context, w *Workload, system System, dir string, round int) (Run, error) {
	fmt.Fprintf(os.Stderr, "%s, %s: %s, round %d of %d\n", w.Name, w.About, system.Name(), round+1, w.Rounds)
	data := filepath.Join(dir, fmt.Sprintf("%s-%s-%d", w.Name, system.Name(), round))
	if err := os.Mkdir(data, 0o755); err != nil { //nolint:gosec // Postgres's user must enter it
		return Run{}, fmt.Errorf("make a directory: %w", err)
	}
	began := time.Now()
	r, err := run(ctx, w, system, data, s.Profiles)
	_ = os.RemoveAll(data)
	fmt.Fprintf(os.Stderr, "  %.0f s\n", time.Since(began).Seconds())
	if err != nil {
		return r, fmt.Errorf("%s on %s: %w", w.Name, system.Name(), err)
	}
	return r, nil
}

// choose returns those of all that have a wanted name, in their own order, or all if nothing is
// wanted. An unknown name is an error.
func choose[T any](all []T, wanted []string, names func(T) []string) ([]T, error) {
	if len(wanted) == 0 {
		return all, nil
	}
	var out []T
	var known []string
	for _, t := range all {
		for _, n := range names(t) {
			if n != "" && !slices.Contains(known, n) {
				known = append(known, n)
			}
		}
		if slices.ContainsFunc(names(t), func(n string) bool { return n != "" && slices.Contains(wanted, n) }) {
			out = append(out, t)
		}
	}
	for _, n := range wanted {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("%q is unknown; there are %s", n, strings.Join(known, ", "))
		}
	}
	return out, nil
}
