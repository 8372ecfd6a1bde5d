package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/alecthomas/kong"
	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/test/process"
)

type flags struct {
	Prometheus string `required:"" help:"Directory of the programs prometheus and promtool; scripts/prometheus.sh finds one."`
}

// patience is how long the queries may take to have data.
const patience = 2 * time.Minute

func main() {
	var f flags
	kong.Parse(&f, kong.Description("Checks the dashboard and the alerts against a real Prometheus and a real Fanmail."))
	if err := f.run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "observability:", err)
		os.Exit(1)
	}
}

func (f *flags) run(ctx context.Context) error {
	root, err := process.Root()
	if err != nil {
		return err
	}
	if err := f.promtool(ctx, root); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "fanmail-observability-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // Postgres's user walks through it
		return err
	}
	up, http, err := startFanmail(ctx, dir)
	if err != nil {
		return err
	}
	defer up.Kill()
	prom, server, err := scrape(ctx, f.Prometheus, dir, filepath.Join(root, "deploy/observability/alerts.yaml"), http)
	if err != nil {
		return err
	}
	defer server.Kill()
	l, err := newLoad(ctx, filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return l.run(ctx) })
	group.Go(func() error {
		defer stop()
		return verify(ctx, root, prom)
	})
	return group.Wait()
}

// promtool checks the rules and runs their unit tests.
func (f *flags) promtool(ctx context.Context, root string) error {
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.CommandContext(ctx, filepath.Join(f.Prometheus, "promtool"), args...) //nolint:gosec // the caller's choice
		cmd.Dir = filepath.Join(root, "deploy/observability")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("promtool %s: %w\n%s", args[0], err, out)
		}
	}
	fmt.Println("promtool: the rules are well formed and their unit tests pass")
	return nil
}

func startFanmail(ctx context.Context, dir string) (*process.Process, string, error) {
	if err := process.Build(ctx, dir, "cmd/fanmail"); err != nil {
		return nil, "", err
	}
	http, err := process.FreeAddr()
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errors.New("fanmail up was not ready in time"))
	defer cancel()
	p, err := process.Start(ctx, process.Spec{
		Name: "up", Bin: filepath.Join(dir, "fanmail"), Logs: dir, Ready: "http://" + http + "/readyz",
		Args: []string{"--dir", filepath.Join(dir, "data"), "up", "--api", "127.0.0.1:0", "--smtp", "127.0.0.1:0", "--http-addr", http},
	})
	if err != nil {
		return nil, "", err
	}
	written := func() error {
		_, err := os.Stat(filepath.Join(dir, "data", "credentials.json"))
		return err
	}
	return p, http, backoff.Retry(written, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
}

// verify waits until every panel has data and every alert was evaluated.
func verify(ctx context.Context, root string, prom *prometheus) error {
	panels, err := queries(root)
	if err != nil {
		return err
	}
	rules, err := alerts(root)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %s", patience))
	defer cancel()
	var last error
	look := func() error {
		last = complete(ctx, prom, panels, rules)
		return last
	}
	if err := backoff.Retry(look, backoff.WithContext(backoff.NewConstantBackOff(time.Second), ctx)); err != nil {
		return errors.Join(last, context.Cause(ctx))
	}
	fmt.Printf("dashboard: all %d queries of its panels have data\nalerts: all %d evaluate\n", len(panels), len(rules))
	return nil
}

func complete(ctx context.Context, prom *prometheus, panels []query, rules []alert) error {
	var faults []error
	var wanted []string
	for _, q := range panels {
		wanted = append(wanted, metrics(q.expr)...)
		if err := prom.check(ctx, q.expr); err != nil {
			faults = append(faults, fmt.Errorf("panel %q: %w: %s", q.panel, err, q.expr))
		}
	}
	for _, a := range rules {
		wanted = append(wanted, metrics(a.Expr)...)
	}
	slices.Sort(wanted)
	missing, err := prom.missing(ctx, slices.Compact(wanted))
	if err != nil {
		return err
	}
	for _, m := range missing {
		faults = append(faults, fmt.Errorf("no process exports %s", m))
	}
	n, err := prom.evaluated(ctx)
	if err != nil {
		faults = append(faults, err)
	} else if n != len(rules) {
		faults = append(faults, fmt.Errorf("%d of %d alerts were evaluated", n, len(rules)))
	}
	return errors.Join(faults...)
}
