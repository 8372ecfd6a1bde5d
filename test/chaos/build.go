package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/fanmail-dev/fanmail/test/process"
)

// patch replaces a text that occurs exactly once in a file of the root module.
type patch struct{ file, old, by string }

// quick shortens the product's leases and retries, so that they end within a short run.
var quick = []patch{
	{"subscribers/delivery.go", "LeaseDuration = 5 * time.Minute", "LeaseDuration = 25 * time.Second"},
	{"subscribers/delivery.go", "FirstLease = 30 * time.Second", "FirstLease = 20 * time.Second"},
	{"outbox/lease.go", "FirstLease = 30 * time.Second", "FirstLease = 6 * time.Second"},
	{"outbox/lease.go", "MaxLease = 5 * time.Minute", "MaxLease = 12 * time.Second"},
	{
		"internal/retry/backoff.go",
		"0, time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour, 4 * time.Hour, 8 * time.Hour, 16 * time.Hour,",
		"0, time.Second, 3 * time.Second, 6 * time.Second, 10 * time.Second, 15 * time.Second, 20 * time.Second, 20 * time.Second,",
	},
}

// overlay writes the patched files into dir, and returns the path of an overlay file for go build. The
// module itself stays as it is.
func overlay(module, dir string, patches []patch) (string, error) {
	texts := map[string]string{}
	for _, p := range patches {
		path := filepath.Join(module, p.file)
		text, ok := texts[path]
		if !ok {
			b, err := os.ReadFile(path) //nolint:gosec // our own file
			if err != nil {
				return "", fmt.Errorf("patch %s: %w", p.file, err)
			}
			text = string(b)
		}
		if n := strings.Count(text, p.old); n != 1 {
			return "", fmt.Errorf("patch %s: %q occurs %d times, not once", p.file, p.old, n)
		}
		texts[path] = strings.Replace(text, p.old, p.by, 1)
	}
	replace := map[string]string{}
	for path, text := range texts {
		to := filepath.Join(dir, strings.ReplaceAll(strings.TrimPrefix(path, module+"/"), "/", "_"))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return "", fmt.Errorf("write the overlay: %w", err)
		}
		replace[path] = to
	}
	b, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", fmt.Errorf("write the overlay: %w", err)
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, b, 0o600)
}

// build compiles the patched commands into bin.
func build(ctx context.Context, dir, bin string, patches []patch) error {
	module, err := process.Root()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("build: %w", err)
	}
	file, err := overlay(module, dir, patches)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-overlay", file, "-o", bin+string(filepath.Separator), //nolint:gosec // our own commands
		"./cmd/api", "./cmd/ingest", "./cmd/publisher", "./cmd/dispatcher", "./test/natsnode")
	cmd.Dir = module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // like deploy/build.sh
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
}
