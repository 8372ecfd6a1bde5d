package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

// openAPI is what tests read of the document of the API.
type openAPI struct {
	Paths map[string]map[string]struct {
		OperationID string `json:"operationId"`
		RequestBody struct {
			Content map[string]struct {
				Schema schema `json:"schema"`
			} `json:"content"`
		} `json:"requestBody"`
	} `json:"paths"`
	Components struct {
		Schemas map[string]schema `json:"schemas"`
	} `json:"components"`
}

type schema struct {
	Ref        string            `json:"$ref"`
	Type       any               `json:"type"`
	Format     string            `json:"format"`
	Enum       []any             `json:"enum"`
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

// nullable says whether null is a value of it. A schema without a type takes any value.
func (s schema) nullable() bool {
	if s.Type == nil && s.Ref == "" {
		return true
	}
	types, _ := s.Type.([]any)
	return slices.Contains(types, any("null"))
}

func document(t *testing.T) *openAPI {
	t.Helper()
	b, err := os.ReadFile("../../internal/api/openapi.json")
	require.NoError(t, err)
	var doc openAPI
	require.NoError(t, json.Unmarshal(b, &doc))
	return &doc
}

// named follows a reference.
func (d *openAPI) named(s schema) schema {
	if name := strings.TrimPrefix(s.Ref, "#/components/schemas/"); name != "" {
		return d.Components.Schemas[name]
	}
	return s
}

// request is one call of the API.
type request struct {
	method, path string
	body         map[string]any
}

// recorder passes requests on to the API of `fanmail up` and keeps them.
type recorder struct {
	url   string
	mu    sync.Mutex
	calls []request
}

func record(t *testing.T, dir string) *recorder {
	t.Helper()
	creds, err := app.ReadCredentials(dir)
	require.NoError(t, err)
	to, err := url.Parse(creds.API)
	require.NoError(t, err)
	r := &recorder{}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(to) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		call := request{method: req.Method, path: req.URL.EscapedPath()}
		_ = json.Unmarshal(b, &call.body)
		r.mu.Lock()
		r.calls = append(r.calls, call)
		r.mu.Unlock()
		req.Body = io.NopCloser(strings.NewReader(string(b)))
		proxy.ServeHTTP(w, req)
	}))
	t.Cleanup(srv.Close)
	r.url = srv.URL
	return r
}

// taken returns the calls since the last time.
func (r *recorder) taken() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// updates are the commands that send a PATCH.
type updates struct {
	object []string            // the command that updates, and the object
	others [][]string          // other commands that change it
	flags  map[string][]string // of each flag: arguments that set it, with those that the API needs beside it; without an entry: the number 5
	reads  bool                // whether the command shows the object where it changes nothing
}

// TestEverySettingIsSetAndCleared reads the API's document: the command line has a flag for each setting that a PATCH
// changes, and a way to clear each that may be null.
func TestEverySettingIsSetAndCleared(t *testing.T) {
	t.Parallel()
	dir := up(t)
	r := record(t, dir)
	hook := object(t, must(t, dir, "", "webhooks", "create", "--url", "https://example.com/", "--events", "email.sent", "--json"))["id"].(string)
	broker := object(t, must(t, dir, "", "webhooks", "create", "--kind", "nats", "--url", "tls://broker.example.com", "--subject", "mail", "--events", "email.sent", "--json"))["id"].(string)
	creds := filepath.Join(t.TempDir(), "fanmail.creds")
	require.NoError(t, os.WriteFile(creds, []byte("-----BEGIN NATS USER JWT-----\nhunter2\n-----BEGIN USER NKEY SEED-----\nhunter2\n"), 0o600))
	must(t, dir, "", "agents", "create", "a@fanmail.example")
	must(t, dir, "", "event-types", "create", "order.created")
	tenant := object(t, must(t, dir, "", "tenants", "create", "other", "--json"))["id"].(string)
	commands := map[string]updates{
		"change-webhook": {
			object: []string{"webhooks", "update", hook},
			others: [][]string{
				{"webhooks", "disable", hook},
				{"webhooks", "enable", hook},
				{"webhooks", "pause", hook},
				{"webhooks", "resume", hook},
				{"webhooks", "update", broker, "--subject", "mail.in"},
				{"webhooks", "update", broker, "--nats-credentials", "@" + creds},
			},
			flags: webhookFlags(t),
		},
		"change-agent": {
			object: []string{"agents", "update", "a@fanmail.example"},
			flags: map[string][]string{
				"webhook-url": {"--webhook-url", "https://example.com/mail"}, "allow-sender": {"--allow-sender", "@friend.example"},
				"deny-sender": {"--deny-sender", "@spam.example"}, "require-dmarc": {"--require-dmarc"},
			},
		},
		"change-quota": {object: []string{"tenants", "quota", tenant}, reads: true},
		"change-tenant": {
			object: []string{"tenants", "alerts", tenant}, reads: true,
			flags: map[string][]string{"to": {"--to", "oncall@example.com"}},
		},
		"change-event-type": {
			object: []string{"event-types", "update", "order.created"},
			flags: map[string][]string{
				"description": {"--description", "An order."}, "schema": {"--schema", "{}"}, "sample": {"--sample", "{}"}, "deprecated": {"--deprecated"},
			},
		},
	}
	doc, patches := document(t), 0
	for path, methods := range doc.Paths {
		patch, ok := methods["patch"]
		if !ok {
			continue
		}
		c, ok := commands[patch.OperationID]
		require.True(t, ok, "no command for PATCH %s: give it one, and name it here", path)
		patches++
		c.check(t, dir, r, doc, doc.named(patch.RequestBody.Content["application/json"].Schema))
	}
	require.Len(t, commands, patches)
}

func (c updates) check(t *testing.T, dir string, r *recorder, doc *openAPI, settings schema) {
	t.Helper()
	set := map[string]bool{}
	send := func(args []string) map[string]any {
		r.taken()
		must(t, dir, "", append(slices.Clone(args), "--api", r.url)...)
		calls := r.taken()
		last := calls[len(calls)-1]
		require.Equal(t, http.MethodPatch, last.method, "%v", args)
		names(last.body, "", set)
		return last.body
	}
	node := leaves(t)[strings.Join(c.object[:2], " ")]
	var clears []string
	for _, f := range node.Flags {
		if f.Name == "clear" {
			clears = f.EnumSlice()
		} else if !slices.Contains(notSettings, f.Name) && f.Name != "help" && !slices.ContainsFunc(c.others, func(args []string) bool { return slices.Contains(args, "--"+f.Name) }) {
			args, ok := c.flags[f.Name]
			if !ok {
				args = []string{"--" + f.Name, "5"}
			}
			send(append(slices.Clone(c.object), args...))
		}
	}
	for _, args := range c.others {
		send(args)
	}
	for name, s := range settings.Properties {
		c.isSet(t, doc, set, name, s)
		if s.nullable() {
			require.Contains(t, clears, name, "--clear of %v", c.object)
		}
	}
	for _, name := range clears {
		body := send(append(slices.Clone(c.object), "--clear", name))
		outer, inner, nested := strings.Cut(name, ".")
		require.Contains(t, body, outer)
		if nested {
			require.NotContains(t, body[outer], inner)
			continue
		}
		require.True(t, settings.Properties[name].nullable(), "%v --clear %s: the API takes no null", c.object, name)
		require.Nil(t, body[name])
	}

	r.taken()
	out, code := fanmail(t, dir, "", append(slices.Clone(c.object), "--api", r.url)...)
	if c.reads {
		require.Zero(t, code)
		require.Equal(t, http.MethodGet, r.taken()[0].method)
		return
	}
	require.Equal(t, 1, code)
	require.Contains(t, out, "nothing to change: give one of --")
	for _, flag := range settingFlags(node) {
		require.Contains(t, out, flag)
	}
	require.Empty(t, r.taken(), "no request")
}

// isSet checks that a flag sets a setting, and each part of one that has parts.
func (c updates) isSet(t *testing.T, doc *openAPI, set map[string]bool, name string, s schema) {
	t.Helper()
	if name == "filters.agent_emails" || name == "kind" { // another name of filters.agent_ids, for requests; a change of kind is refused
		return
	}
	require.True(t, set[name], "no flag of %v sets %s", c.object, name)
	for part, of := range doc.named(s).Properties {
		c.isSet(t, doc, set, name+"."+part, of)
	}
}

// names collects the names of all fields of a body.
func names(body map[string]any, before string, into map[string]bool) {
	for name := range maps.Keys(body) {
		into[before+name] = true
		if within, ok := body[name].(map[string]any); ok {
			names(within, before+name+".", into)
		}
	}
}

func webhookFlags(t *testing.T) map[string][]string {
	t.Helper()
	exponential := []string{"--retry-initial", "30s", "--retry-factor", "2", "--retry-max", "1h", "--retry-attempts", "5"}
	oauth2 := []string{"--oauth2-token-url", "https://example.com/token", "--oauth2-client-id", "me", "--oauth2-client-secret", "hunter2", "--oauth2-scope", "mail"}
	files := tlstest.In(t.TempDir(), "client")
	tlstest.New(t).Write(files, 2)
	mtls := []string{"--client-certificate", files.Cert, "--client-key", files.Key}
	flags := map[string][]string{
		"url": {"--url", "https://example.com/other"}, "events": {"--events", "email.received"}, "agent": {"--agent", "a@fanmail.example"},
		"conversation": {"--conversation", "c"}, "filter-data": {"--filter-data", `{"a": 1}`}, "label": {"--label", "l"}, "description": {"--description", "d"}, "max-in-flight": {"--max-in-flight", "3"},
		"rate-limit": {"--rate-limit", "3"}, "ordering": {"--ordering", "strict"}, "header": {"--header", "X-Key=v"}, "basic-auth": {"--basic-auth", "a:b"},
		"ca": {"--ca", files.CA}, "timeout": {"--timeout", "3"}, "ed25519": {"--ed25519"}, "envelope": {"--envelope", "v0.4"},
		"envelope-until": {"--envelope", "v0.4", "--envelope-until", time.Now().Add(48 * time.Hour).Format(time.DateOnly)},
		"retry-delays":   {"--retry-delays", "1m,2m"}, "retry-jitter": append([]string{"--retry-jitter", "0.2"}, exponential...),
		"retry-final": append([]string{"--retry-final", "422"}, exponential...),
	}
	for i := 0; i < len(exponential); i += 2 {
		flags[strings.TrimPrefix(exponential[i], "--")] = exponential
	}
	for i := 0; i < len(oauth2); i += 2 {
		flags[strings.TrimPrefix(oauth2[i], "--")] = oauth2
	}
	for i := 0; i < len(mtls); i += 2 {
		flags[strings.TrimPrefix(mtls[i], "--")] = mtls
	}
	return flags
}
