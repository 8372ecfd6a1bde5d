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
)

// target is the API that a command calls, and how it prints the answer.
type target struct {
	API  string `name:"api" env:"FANMAIL_API" placeholder:"URL" help:"The API. Defaults to that in DIR/credentials.json."`
	Key  string `name:"key" env:"FANMAIL_KEY" placeholder:"KEY" help:"The API key. Defaults to that in DIR/credentials.json."`
	JSON bool   `name:"json" help:"Print the API's JSON."`
}

// role is whose key of credentials.json a command needs.
type role bool

const (
	asTenant   role = false
	asOperator role = true
)

func (t *target) client(s *session, as role) (*apiclient.Client, error) {
	c := &apiclient.Client{Base: t.API, Key: t.Key}
	if c.Base != "" && c.Key != "" {
		return c, nil
	}
	creds, err := credentials(s)
	if err != nil {
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
		return creds, fmt.Errorf("no credentials in %s: start `fanmail up`, name its --dir", s.dir)
	}
	return creds, err
}

// show calls the API and prints the object that it answers with.
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

// page is a list's window.
type page struct {
	Limit  int    `default:"20" help:"Most rows, from 1 to 100."`
	Cursor string `help:"Where the last page ended."`
}

// list calls the API and prints the rows that it answers with.
func (t *target) list(ctx context.Context, s *session, as role, path string, p page, query url.Values, columns ...column) error {
	c, err := t.client(s, as)
	if err != nil {
		return err
	}
	if query == nil {
		query = url.Values{}
	}
	query.Set("limit", strconv.Itoa(p.Limit))
	if p.Cursor != "" {
		query.Set("cursor", p.Cursor)
	}
	var answer json.RawMessage
	var rows struct {
		Data       []map[string]any `json:"data"`
		NextCursor *string          `json:"next_cursor"`
	}
	for {
		if err := c.Do(ctx, http.MethodGet, path, query, nil, &answer); err != nil {
			return err
		}
		d := json.NewDecoder(bytes.NewReader(answer))
		d.UseNumber()
		rows.NextCursor = nil
		if err := d.Decode(&rows); err != nil {
			return fmt.Errorf("read the list: %w", err)
		}
		if len(rows.Data) > 0 || rows.NextCursor == nil {
			break
		}
		// A filter found nothing in this piece of history; the list goes on.
		query.Set("cursor", *rows.NextCursor)
	}
	if t.JSON {
		return s.printJSON(answer)
	}
	if err := s.printTable(rows.Data, columns); err != nil {
		return err
	}
	if rows.NextCursor != nil {
		s.say("more: --cursor %s", *rows.NextCursor)
	}
	return nil
}

// span is a window of time.
type span struct {
	Since string `placeholder:"TIME" help:"From then on: RFC 3339, or how long ago, such as 2h."`
	Until string `placeholder:"TIME" help:"Before then."`
}

func (w *span) set(query url.Values) error {
	for _, f := range []struct{ name, value string }{{"since", w.Since}, {"until", w.Until}} {
		if f.value == "" {
			continue
		}
		at, err := parseTime(f.value, time.Now())
		if err != nil {
			return fmt.Errorf("--%s is %q; it must be a time such as 2026-01-02T15:04:05Z, or how long ago, such as 2h", f.name, f.value)
		}
		query.Set(f.name, at.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

func parseTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	return time.Parse(time.RFC3339Nano, text)
}

// given makes a query of the values that are not empty: name, value, name, …
func given(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}
