package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/mattn/go-runewidth"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
)

// hostile is a text of a stranger: it is long and wide, it clears the screen, moves the cursor and turns the direction.
const hostile = "\x1b[2J\x1b[1;1H\u009b31m日本語の長い件名👩‍👩‍👧‍👦\u202e\r\n\tA\u0301\x07\x00 https://shop.example/with/a/long/path/that/has/no/end"

// hostileAPI answers like the API of dir, with hostile texts in place of all that are neither ids nor times.
func hostileAPI(t *testing.T, dir string) string {
	t.Helper()
	creds, err := app.ReadCredentials(dir)
	require.NoError(t, err)
	to, err := url.Parse(creds.API)
	require.NoError(t, err)
	srv := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to); p.Out.Header.Del("Accept-Encoding") },
		ModifyResponse: func(resp *http.Response) error {
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				return err
			}
			var v any
			if json.Unmarshal(b, &v) == nil {
				if b, err = json.Marshal(poisoned(v)); err != nil {
					return err
				}
			}
			resp.Body = io.NopCloser(bytes.NewReader(b))
			resp.Header.Del("Content-Length")
			return nil
		},
	})
	t.Cleanup(srv.Close)
	return srv.URL
}

var identifier = regexp.MustCompile(`^[a-z]+_[0-9a-f]{32}$`)

func poisoned(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			v[name] = poisoned(v[name])
		}
	case []any:
		for i := range v {
			v[i] = poisoned(v[i])
		}
	case string:
		if _, err := time.Parse(time.RFC3339Nano, v); err != nil && !identifier.MatchString(v) {
			return v + hostile
		}
	}
	return v
}

// world fills an installation with an object of each kind, and returns their ids by the kind's name.
func world(t *testing.T, dir string) map[string]string {
	t.Helper()
	id := func(args ...string) string {
		return object(t, must(t, dir, `{"subject":"Tea","list":[{"a":1},[2]]}`, append(args, "--json")...))["id"].(string)
	}
	must(t, dir, "", "agents", "create", "agent@fanmail.example", "--webhook-url", "http://127.0.0.1:65535/agent")
	ids := map[string]string{"tenant": id("tenants", "create", "other")}
	ids["webhook"] = id("webhooks", "create", "--url", "http://127.0.0.1:65535/", "--events", "*", "--header", "X-Key=v", "--label", "never",
		"--retry-delays", "1h,2h", "--basic-auth", "a:b")
	ids["key"] = id("keys", "create", "--tenant", ids["tenant"])
	must(t, dir, "", "domains", "add", "shop.example")
	must(t, dir, "", "event-types", "create", "order.created", "--schema", `{"type":"object"}`, "--sample", `{"id":[1,{"a":2}]}`)
	ids["event-type"] = "order.created"
	ids["erasure"] = id("erasures", "create", "--address", "nobody@shop.example")
	must(t, dir, "", "portal-links", "create", ids["webhook"])
	ids["replay"] = id("replay", "--since", "1h", "--webhook", ids["webhook"])
	ids["event"] = id("events", "create", "email.sent", "--label", "never")
	must(t, dir, "", "send", "--to", "agent@fanmail.example")
	require.Eventually(t, func() bool { // the first attempt has failed
		rows := listing(t, dir, "deliveries", "list")
		if len(rows) == 0 || rows[0]["last_error"] == nil {
			return false
		}
		ids["delivery"] = rows[0]["id"].(string)
		return len(listing(t, dir, "agents", "deliveries", "agent@fanmail.example")) > 0
	}, patience, 20*time.Millisecond)
	ids["message"] = listing(t, dir, "agents", "deliveries", "agent@fanmail.example")[0]["message_id"].(string)
	return ids
}

// TestEveryTableFitsATerminal with hostile texts in all columns.
func TestEveryTableFitsATerminal(t *testing.T) {
	t.Parallel()
	dir := up(t)
	ids := world(t, dir)
	tables := []string{
		"agents deliveries agent@fanmail.example", "audit", "events find Tea", "deliveries list " + ids["webhook"], "stats", "activity",
		"tenants quota " + ids["tenant"],
	}
	for name := range leaves(t) {
		if strings.HasSuffix(name, " list") {
			tables = append(tables, name)
		}
	}
	require.Greater(t, len(tables), 14)
	api := hostileAPI(t, dir)
	for _, line := range tables {
		args := strings.Fields(line)
		if line == "events find Tea" {
			args = []string{"events", "find", "--type", "email.received"}
		}
		for _, width := range []int{40, 80, 132} {
			var out, left bytes.Buffer
			code := run(t.Context(), append([]string{"--dir", dir}, append(args, "--api", api)...), &session{in: strings.NewReader(""), out: &out, err: &left, width: width})
			require.Zero(t, code, "%s: %s", line, left.String())
			require.GreaterOrEqual(t, strings.Count(out.String(), "\n"), 2, "%s has no row", line)
			for text := range strings.Lines(out.String()) {
				text = strings.TrimSuffix(text, "\n")
				requirePrintable(t, line, text)
				if strings.HasPrefix(text, "more: --cursor ") {
					continue // it is copied whole
				}
				require.LessOrEqual(t, runewidth.StringWidth(text), width, "%s: %s", line, text)
			}
		}
	}
}

func requirePrintable(t *testing.T, command, text string) {
	t.Helper()
	require.Equal(t, -1, strings.IndexFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }), "%s: %q", command, text)
}

// TestDetailsAreLaidOut for people, in all commands that show one object.
func TestDetailsAreLaidOut(t *testing.T) {
	t.Parallel()
	dir := up(t)
	ids := world(t, dir)
	api := hostileAPI(t, dir)
	shown := 0
	for name := range leaves(t) {
		noun, found := strings.CutSuffix(name, " get")
		if !found {
			continue
		}
		id := ids[strings.TrimSuffix(noun, "s")]
		switch noun {
		case "deliveries":
			id = ids["delivery"]
		case "agents":
			id = "agent@fanmail.example"
		case "domains":
			id = "shop.example"
		}
		require.NotEmpty(t, id, "the world has nothing for fanmail %s", name)
		shown++
		for _, more := range [][]string{nil, {"--api", api}} {
			out := must(t, dir, "", append([]string{noun, "get", id}, more...)...)
			for line := range strings.Lines(out) {
				requirePrintable(t, name, strings.TrimSuffix(line, "\n"))
				require.NotContains(t, line, "map[", name)
				require.NotRegexp(t, `[{\[]"|":`, line, name)
				require.NotRegexp(t, `\d\d-\d\dT\d\d:\d\d`, line, "%s: a time is not in this machine's zone", name)
			}
		}
	}
	require.GreaterOrEqual(t, shown, 7)
	out := must(t, dir, "", "webhooks", "get", ids["webhook"])
	require.Contains(t, out, "\nretry\n  type    list\n  delays  1h,2h\n")
	require.Contains(t, out, "\nfilters\n  ")
	out = must(t, dir, "", "deliveries", "get", ids["delivery"])
	require.Regexp(t, `(?m)^- |^  - `, out, "the attempts")
	zone, _ := time.Now().Zone()
	require.Regexp(t, `(?m)^created_at +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d `+regexp.QuoteMeta(zone)+`$`, out)
	require.Regexp(t, `"created_at": "\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^"]*Z"`, must(t, dir, "", "deliveries", "get", ids["delivery"], "--json"), "exact for scripts")
}

// TestATextsLastLineBreakIsNotShown, as in the text of each mail.
func TestATextsLastLineBreakIsNotShown(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"text  Is it there?"}, describe(map[string]any{"text": "Is it there?\r\n"}))
	require.Equal(t, []string{"text", "  a", "  b"}, describe(map[string]any{"text": "a\r\nb\r\n"}))
}

// TestTimesAreKnown by the names that the API gives them.
func TestTimesAreKnown(t *testing.T) {
	t.Parallel()
	doc, found := document(t), 0
	for name, s := range doc.Components.Schemas {
		for field, of := range s.Properties {
			if of.Format == "date-time" {
				found++
				require.True(t, isTime(field), "%s.%s is a time: name it in the list of times", name, field)
			} else if !strings.HasPrefix(name, "Event") { // the parts of a mail have dates as the mail has them
				require.False(t, isTime(field), "%s.%s is no time", name, field)
			}
		}
	}
	require.Greater(t, found, 30)
	now := time.Now()
	require.Equal(t, now.Format("15:04:05 MST"), shortTime(now.UTC().Format(time.RFC3339Nano), now))
	require.Equal(t, time.Unix(1e9, 0).Format("2006-01-02 MST"), shortTime("2001-09-09T01:46:40Z", now))
	require.Equal(t, "never", localTime("never"))
	require.Equal(t, "-", localTime(nil))
}
