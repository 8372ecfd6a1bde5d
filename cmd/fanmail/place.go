package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/capacity"
)

type capacityPlaceCmd struct {
	Database []string `required:"" sep:"," placeholder:"NAME[=WEIGHT],…" help:"The databases. A weight defaults to 1."`
	Was      []string `sep:"," placeholder:"NAME[=WEIGHT],…" help:"The previous databases. Prints only the tenants that move, and from which database."`
	Tenants  string   `default:"-" placeholder:"FILE" help:"The tenants, one a line: the id, optionally its load (such as events a day), optionally the database that it is pinned to. Defaults to standard input."`
	JSON     bool     `name:"json" help:"Print JSON."`
}

// placed is one line of the output.
type placed struct {
	capacity.Placement
	From string `json:"from,omitempty"`
}

// Run prints the database of each tenant, and on standard error the load of each
// database.
func (c *capacityPlaceCmd) Run(s *session) error {
	databases, err := parseDatabases("--database", c.Database)
	if err != nil {
		return err
	}
	tenants, err := c.read(s)
	if err != nil {
		return err
	}
	places, err := capacity.Place(tenants, databases)
	if err != nil {
		return err
	}
	out := make([]placed, len(places))
	for i, p := range places {
		out[i].Placement = p
	}
	if len(c.Was) > 0 {
		if out, err = moved(tenants, places, c.Was); err != nil {
			return err
		}
	}
	shares := capacity.Shares(places, databases)
	if c.JSON {
		return printIndented(s.out, map[string]any{"tenants": out, "databases": shares})
	}
	for _, p := range out {
		if p.From != "" {
			s.say("%s\t%s\tfrom %s", p.Tenant, p.Database, p.From)
		} else {
			s.say("%s\t%s", p.Tenant, p.Database)
		}
	}
	for _, d := range shares {
		_, _ = fmt.Fprintf(s.err, "%s: %d tenants, load %g, %.2f of its fair share\n", d.Database, d.Tenants, d.Load, d.OfFair)
	}
	return nil
}

// moved returns the tenants that were on another database before.
func moved(tenants []capacity.Tenant, now []capacity.Placement, was []string) ([]placed, error) {
	before, err := parseDatabases("--was", was)
	if err != nil {
		return nil, err
	}
	there := map[string]bool{}
	for _, d := range before {
		there[d.Name] = true
	}
	unpinned := make([]capacity.Tenant, len(tenants))
	for i, t := range tenants {
		unpinned[i] = t
		if !there[t.Pin] {
			unpinned[i].Pin = "" // this database did not exist before
		}
	}
	then, err := capacity.Place(unpinned, before)
	if err != nil {
		return nil, err
	}
	out := []placed{}
	for i := range now {
		if now[i].Database != then[i].Database {
			out = append(out, placed{now[i], then[i].Database})
		}
	}
	return out, nil
}

func parseDatabases(flag string, list []string) ([]capacity.Database, error) {
	out := make([]capacity.Database, len(list))
	for i, text := range list {
		name, weight, given := strings.Cut(text, "=")
		out[i] = capacity.Database{Name: strings.TrimSpace(name), Weight: 1}
		if !given {
			continue
		}
		var err error
		if out[i].Weight, err = strconv.ParseFloat(weight, 64); err != nil {
			return nil, fmt.Errorf("%s: %q: the weight must be a number, such as %s=2", flag, text, name)
		}
	}
	return out, nil
}

// read reads the tenants. It skips empty lines and lines that begin with #.
func (c *capacityPlaceCmd) read(s *session) (tenants []capacity.Tenant, err error) {
	from := s.in
	if c.Tenants != "-" {
		f, err := os.Open(c.Tenants)
		if err != nil {
			return nil, fmt.Errorf("read the tenants: %w", err)
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	if tenants, err = parseTenants(from); err != nil {
		return nil, fmt.Errorf("read the tenants: %w", err)
	}
	if len(tenants) == 0 {
		return nil, errors.New("read the tenants: there are none; write one a line")
	}
	return tenants, nil
}

func parseTenants(from io.Reader) ([]capacity.Tenant, error) {
	var out []capacity.Tenant
	lines := bufio.NewScanner(from)
	for n := 1; lines.Scan(); n++ {
		f := strings.Fields(lines.Text())
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		t := capacity.Tenant{ID: f[0], Load: 1}
		if len(f) > 3 {
			return nil, fmt.Errorf("line %d has %d words; it must have an id, a load and a database at most", n, len(f))
		}
		if len(f) > 1 {
			var err error
			if t.Load, err = strconv.ParseFloat(f[1], 64); err != nil || !(t.Load >= 0) {
				return nil, fmt.Errorf("line %d: the load %q must be a number that is not negative", n, f[1])
			}
		}
		if len(f) > 2 {
			t.Pin = f[2]
		}
		out = append(out, t)
	}
	return out, lines.Err()
}
