// Command vulns checks modules against the Go vulnerability database:
//
//	go run ./test/vulns [--db URL] MODULE...
//
// A MODULE is the folder of a go.mod. The check covers the selected version of every module that has a package of its
// code, tests or tools, and the standard library. A vulnerable version counts whether or not the code calls what is
// vulnerable in it.
// The first module is the one that ships: there every finding counts. In the others, which only developers run, a finding
// counts if a version without it exists. The exit code is 0 if nothing counts, or if the database cannot be reached, which
// the output says; 1 if a finding counts or the check fails.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"time"
)

// patience is how long the database may take to answer the first request.
const patience = 20 * time.Second

func main() {
	db := flag.String("db", "https://vuln.go.dev", "the database: a URL of http, https or file")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: vulns [--db URL] MODULE...")
		os.Exit(2)
	}
	found, err := check(context.Background(), *db, flag.Args(), os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulns:", err)
	}
	if found > 0 || err != nil {
		os.Exit(1)
	}
}

// check prints the findings of each module, and returns the number of those that count.
func check(ctx context.Context, db string, modules []string, out io.Writer) (counted int, err error) {
	if err := reach(ctx, db); err != nil {
		var away *unreachableError
		if errors.As(err, &away) {
			_, _ = fmt.Fprintf(out, "NOT CHECKED for known vulnerabilities: %v\n", err)
			return 0, nil
		}
		return 0, err
	}
	tool, err := exec.CommandContext(ctx, "go", "tool", "-n", "-modfile=tools/go.mod", "govulncheck").Output()
	if err != nil {
		return 0, fmt.Errorf("build govulncheck: %w", detailed(err))
	}
	for i, module := range modules {
		findings, err := scan(ctx, strings.TrimSpace(string(tool)), db, module)
		if err != nil {
			return counted, fmt.Errorf("check %s: %w", module, err)
		}
		_, _ = fmt.Fprintf(out, "%s: %d known vulnerabilities\n", module, len(findings))
		for _, f := range findings {
			fix := "fixed in " + f.fixed
			if f.fixed == "" {
				fix = "no version fixes it"
			}
			_, _ = fmt.Fprintf(out, "  %s: %s: %s; %s; https://pkg.go.dev/vuln/%s\n", f.id, f.module, f.summary, fix, f.id)
			if i == 0 || f.fixed != "" {
				counted++
			}
		}
	}
	return counted, nil
}

// unreachableError says that nobody answers for the database, so that nothing can be said about the modules.
type unreachableError struct {
	db    string
	cause error
}

// Error names the database.
func (e *unreachableError) Error() string {
	return fmt.Sprintf("the database %s cannot be reached: %v", e.db, e.cause)
}

// reach returns an *unreachableError if the database does not answer, and another error if what answers is no database.
func reach(ctx context.Context, db string) error {
	u, err := url.Parse(db)
	if err != nil {
		return fmt.Errorf("--db: %w", err)
	}
	if u.Scheme == "file" {
		if _, err := os.Stat(path.Join(u.Path, "index", "modules.json")); err != nil {
			return &unreachableError{db, err}
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, strings.TrimSuffix(db, "/")+"/index/modules.json.gz", nil)
	if err != nil {
		return fmt.Errorf("--db: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return &unreachableError{db, err}
	}
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode >= http.StatusInternalServerError, resp.StatusCode == http.StatusForbidden, resp.StatusCode == http.StatusTooManyRequests:
		return &unreachableError{db, fmt.Errorf("it answers %s", resp.Status)}
	}
	return fmt.Errorf("%s is no vulnerability database: it answers %s for its index", db, resp.Status)
}

// finding is a vulnerability of a selected version.
type finding struct {
	id, module, fixed, summary string
}

// scan returns the findings of a module, sorted.
func scan(ctx context.Context, tool, db, dir string) ([]finding, error) {
	cmd := exec.CommandContext(ctx, tool, "-db", db, "-scan", "package", "-test", "-format", "json", "./...", "tool") //nolint:gosec // from tools/go.mod
	cmd.Dir = dir
	text, err := cmd.Output()
	if err != nil {
		return nil, detailed(err)
	}
	type message struct {
		OSV *struct {
			ID, Summary string
		}
		Finding *struct {
			OSV          string
			FixedVersion string `json:"fixed_version"`
			Trace        []struct{ Module, Version string }
		}
	}
	summaries := map[string]string{}
	var findings []finding
	for decoder := json.NewDecoder(bytes.NewReader(text)); ; {
		var m message
		switch err := decoder.Decode(&m); {
		case errors.Is(err, io.EOF):
			for i := range findings {
				findings[i].summary = summaries[findings[i].id]
			}
			slices.SortFunc(findings, func(a, b finding) int { return strings.Compare(a.module+a.id, b.module+b.id) })
			return slices.Compact(findings), nil
		case err != nil:
			return nil, fmt.Errorf("read the output of govulncheck: %w", err)
		case m.OSV != nil:
			summaries[m.OSV.ID] = m.OSV.Summary
		case m.Finding != nil && len(m.Finding.Trace) > 0:
			at := m.Finding.Trace[0] // the module, and again each of its packages
			findings = append(findings, finding{id: m.Finding.OSV, module: strings.TrimSpace(at.Module + " " + at.Version), fixed: m.Finding.FixedVersion})
		}
	}
}

// detailed adds what a command printed to its error.
func detailed(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(exit.Stderr))
	}
	return err
}
