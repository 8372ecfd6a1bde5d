package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// target is the API that a command calls, and the format of the output.
type target struct {
	API  secret.Text `name:"api" env:"FANMAIL_API" placeholder:"URL" help:"URL of the API. Defaults to the one in DIR/credentials.json."`
	Key  secret.Text `name:"key" env:"FANMAIL_KEY" placeholder:"KEY" help:"API key. Defaults to the one in DIR/credentials.json."`
	JSON bool        `name:"json" help:"Print the JSON of the API."`

	tenant string // whose data an operator reads; "": that of the key's tenant
}

// reading is the target of a command that only reads a tenant's data.
type reading struct {
	target
	Tenant string `placeholder:"ID" help:"The tenant (ten_...) whose data is shown. Needs an operator's key." of:"tenant"`
}

func (r *reading) client(s *session, as role) (*apiclient.Client, error) {
	r.tenant = r.Tenant
	return r.target.client(s, as)
}

func (r *reading) show(ctx context.Context, s *session, as role, method, path string, in any) error {
	r.tenant = r.Tenant
	return r.target.show(ctx, s, as, method, path, in)
}

func (r *reading) list(ctx context.Context, s *session, as role, path string, p page, query url.Values, columns ...column) error {
	r.tenant = r.Tenant
	return r.target.list(ctx, s, as, path, p, query, columns...)
}

// role selects the key of credentials.json that a command needs.
type role bool

const (
	asTenant   role = false
	asOperator role = true
)

func (t *target) client(s *session, as role) (*apiclient.Client, error) {
	if t.API != "" {
		u, err := t.API.URL("http", "https")
		if err == nil && u.Host == "" {
			err = errors.New("has no host; it must be a URL such as https://fanmail.example")
		}
		if err != nil {
			return nil, fmt.Errorf("--api (FANMAIL_API) %w", err)
		}
	}
	if t.tenant != "" {
		as = asOperator
	}
	c := &apiclient.Client{Base: t.API.Reveal(), Key: t.Key.Reveal(), Tenant: t.tenant, Proxy: http.ProxyFromEnvironment}
	if c.Base != "" && c.Key != "" {
		return c, nil
	}
	creds, err := credentials(s)
	switch {
	case err != nil && c.Base != "":
		return nil, fmt.Errorf("the API key is missing: set --key (FANMAIL_KEY); %w", err)
	case err != nil && c.Key != "":
		return nil, fmt.Errorf("the URL of the API is missing: set --api (FANMAIL_API); %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w, or set --api (FANMAIL_API) and --key (FANMAIL_KEY)", err)
	}
	if c.Base == "" {
		c.Base = creds.API
	}
	if c.Key == "" {
		c.Key = creds.TenantKey
		if as == asOperator {
			c.Key = creds.OperatorKey
		}
	}
	return c, nil
}

func credentials(s *session) (app.Credentials, error) {
	creds, err := app.ReadCredentials(s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return creds, fmt.Errorf("no credentials in %s: start `fanmail up`, set --dir to its directory", s.dir)
	}
	return creds, err
}

// show calls the API and prints the object of the response.
func (t *target) show(ctx context.Context, s *session, as role, method, path string, in any) error {
	c, err := t.client(s, as)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := c.Do(ctx, method, path, nil, in, &answer); err != nil {
		return err
	}
	if len(answer) == 0 {
		if !t.JSON {
			s.say("done")
		}
		return nil
	}
	if t.JSON {
		return s.printJSON(answer)
	}
	return s.printObject(answer)
}

// page selects a page of a list.
type page struct {
	Limit  int    `default:"20" help:"Maximum number of rows, from 1 to 100."`
	Cursor string `help:"The cursor that the previous page printed."`
}

// list calls the API and prints the rows of the response.
func (t *target) list(ctx context.Context, s *session, as role, path string, p page, query url.Values, columns ...column) error {
	if query == nil {
		query = url.Values{}
	}
	l := listed{target: t, role: as, path: path, page: p, columns: columns}
	_, err := l.print(ctx, s, query, true)
	return err
}

// listed is how a list is read and printed.
type listed struct {
	*target
	role    role
	path    string
	page    page
	columns []column
	passed  func(time.Time) // is told how far an empty page has searched; nil: nobody is
}

// print prints the first page with rows, and reports whether there is one. If there is none, it prints nothing unless
// always is set.
func (l *listed) print(ctx context.Context, s *session, query url.Values, always bool) (bool, error) {
	c, err := l.client(s, l.role)
	if err != nil {
		return false, err
	}
	query.Set("limit", strconv.Itoa(l.page.Limit))
	if l.page.Cursor != "" {
		query.Set("cursor", l.page.Cursor)
	}
	var answer json.RawMessage
	var rows struct {
		Data          []map[string]any `json:"data"`
		NextCursor    *string          `json:"next_cursor"`
		SearchedUntil *time.Time       `json:"searched_until"`
	}
	for {
		if err := c.Do(ctx, http.MethodGet, l.path, query, nil, &answer); err != nil {
			return false, err
		}
		d := json.NewDecoder(bytes.NewReader(answer))
		d.UseNumber()
		rows.NextCursor, rows.SearchedUntil = nil, nil
		if err := d.Decode(&rows); err != nil {
			return false, fmt.Errorf("decode the list: %w", err)
		}
		if len(rows.Data) > 0 || rows.NextCursor == nil {
			break
		}
		// The filter matched no row of this page; read the next one.
		query.Set("cursor", *rows.NextCursor)
		if l.passed != nil && rows.SearchedUntil != nil {
			l.passed(*rows.SearchedUntil)
		}
	}
	if len(rows.Data) == 0 && !always {
		return false, nil
	}
	if l.JSON {
		return true, s.printJSON(answer)
	}
	for _, row := range rows.Data {
		if mail, ok := row["mail"].(map[string]any); ok {
			row["mail.from"], row["mail.subject"] = mail["from"], mail["subject"]
		}
	}
	if err := s.printTable(rows.Data, l.columns); err != nil {
		return false, err
	}
	if rows.NextCursor != nil {
		s.say("more: --cursor %s", printable(*rows.NextCursor))
	}
	return true, nil
}

// span is a window of time: since is inclusive, until exclusive.
type span struct {
	Since string `placeholder:"TIME" help:"Start of the window: RFC 3339, or how long ago, such as 2h."`
	Until string `placeholder:"TIME" help:"End of the window, in the same formats."`
}

func (w *span) set(query url.Values) error {
	for _, f := range []struct{ name, value string }{{"since", w.Since}, {"until", w.Until}} {
		if f.value == "" {
			continue
		}
		at, err := parseTime(f.value, time.Now())
		if err != nil {
			return fmt.Errorf("--%s is %q; it must be %s", f.name, f.value, timeFormats)
		}
		query.Set(f.name, at.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// timeFormats describes the values of --since and --until in errors.
const timeFormats = "a time from 1970 to 9999 such as 2026-01-02T15:04:05Z, or how long ago, such as 2h"

func parseTime(text string, now time.Time) (time.Time, error) {
	var at time.Time
	ago, err := time.ParseDuration(text)
	if err == nil {
		at = now.Add(-ago)
	} else if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return at, err
	}
	if wrong := input.Time(at); wrong != "" {
		return at, fmt.Errorf("the time %s %s", text, wrong)
	}
	return at, nil
}

// queryOf builds a query from the pairs (name, value) whose value is not empty.
func queryOf(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}
