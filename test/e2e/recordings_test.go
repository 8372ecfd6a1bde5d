package e2e_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// recording is one exchange with the API, for its document. Texts are answers that are no JSON, by media type.
type recording struct {
	Path     string            `json:"path"`
	Status   int               `json:"status"`
	Request  json.RawMessage   `json:"request,omitempty"`
	Response json.RawMessage   `json:"response,omitempty"`
	Texts    map[string]string `json:"texts,omitempty"`
}

// recordings are the exchanges by operation.
type recordings map[string]recording

const recordingsFile = "../../internal/api/samples.json"

// keep keeps the exchange if it says more than the one before, and the last text of each media type. Of an operation that
// is refused it keeps the path.
func (r recordings) keep(operation string, resp *http.Response, request, response []byte) {
	before, known := r[operation]
	path := resp.Request.URL.Path
	if resp.StatusCode >= 300 {
		if !known {
			r[operation] = recording{Path: path}
		}
		return
	}
	if media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); len(response) > 0 && media != "application/json" {
		if before.Texts == nil {
			before.Texts = map[string]string{}
		}
		before.Path, before.Status, before.Texts[media] = path, resp.StatusCode, string(response)
		r[operation] = before
		return
	}
	if before.Status == 0 || len(names(response))+len(names(request)) > len(names(before.Response))+len(names(before.Request)) {
		r[operation] = recording{path, resp.StatusCode, request, response, before.Texts}
	}
}

// names are those of all fields that have a value, each with those around it.
func names(raw []byte) map[string]bool {
	found := map[string]bool{}
	var visit func(at string, v any)
	visit = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				if inner != nil {
					found[at+"."+name] = true
				}
				visit(at+"."+name, inner)
			}
		case []any:
			for _, inner := range v {
				visit(at, inner)
			}
		}
	}
	var v any
	_ = json.Unmarshal(raw, &v) // no body
	visit("", v)
	return found
}

// compare fails if the samples in the repository lack an operation. That they fit their schemas is tested beside the
// document. With -update it writes the samples.
func (r recordings) compare(t *testing.T, api, hooks string) {
	t.Helper()
	if *update {
		written := recordings{}
		for operation, e := range r {
			texts := map[string]string{}
			for media, text := range e.Texts {
				texts[media] = invented(t, text, api, hooks)
			}
			written[operation] = recording{invented(t, e.Path, api, hooks), e.Status, plain(t, e.Request, api, hooks), plain(t, e.Response, api, hooks), texts}
		}
		var b bytes.Buffer
		encode := json.NewEncoder(&b)
		encode.SetEscapeHTML(false)
		encode.SetIndent("", "  ")
		require.NoError(t, encode.Encode(written))
		require.NoError(t, os.WriteFile(recordingsFile, b.Bytes(), 0o600))
	}
	raw, err := os.ReadFile(recordingsFile)
	require.NoError(t, err)
	var kept recordings
	require.NoError(t, json.Unmarshal(raw, &kept))
	const how = "run this test with -update, then go generate ./internal/api"
	for operation := range r {
		require.Contains(t, kept, operation, how)
	}
}

var (
	anyID     = regexp.MustCompile(`\b([a-z]{2,6}_)[0-9a-f]{32}\b`)
	anyTime   = regexp.MustCompile(`(\\*")20\d\d-\d\d-\d\dT[0-9:.]+Z`) // also in a text of JSON
	anySecret = regexp.MustCompile(`\b(whsec_|fm_|fanmail-verify=)[A-Za-z0-9+/=_-]+`)
	anyToken  = regexp.MustCompile(`[A-Za-z0-9_-]{40,}`)
	hex64     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// invented replaces what differs from run to run.
func invented(t *testing.T, s, api, hooks string) string {
	t.Helper()
	host, err := os.Hostname()
	require.NoError(t, err)
	s = strings.NewReplacer(api, "https://fanmail.example.com", strings.TrimSuffix(hooks, "/"), "https://hooks.example.com", "127.0.0.1", "192.0.2.17").Replace(s)
	s = regexp.MustCompile(`"`+regexp.QuoteMeta(host)+`-\d+`).ReplaceAllString(s, `"dispatcher-1`)
	s = anyTime.ReplaceAllString(s, `${1}2026-01-02T03:04:05Z`)
	s = anyID.ReplaceAllString(s, "${1}0123456789abcdef0123456789abcdef")
	s = anySecret.ReplaceAllString(s, "${1}…")
	return anyToken.ReplaceAllStringFunc(s, func(token string) string {
		if hex64.MatchString(token) {
			return strings.Repeat("0123456789abcdef", 4)
		}
		return "…"
	})
}

// plain is invented JSON, in which lists have one element.
func plain(t *testing.T, raw []byte, api, hooks string) json.RawMessage {
	t.Helper()
	if len(raw) == 0 {
		return nil
	}
	var v any
	d := json.NewDecoder(strings.NewReader(invented(t, string(raw), api, hooks)))
	d.UseNumber()
	require.NoError(t, d.Decode(&v))
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(short(v)))
	return b.Bytes()
}

// firstEvent reads a stream of server-sent events up to the end of its first event.
func firstEvent(t *testing.T, stream io.Reader) []byte {
	t.Helper()
	var event []byte
	for lines := bufio.NewReader(stream); ; {
		line, err := lines.ReadBytes('\n')
		require.NoError(t, err)
		switch {
		case line[0] == ':': // a comment
		case len(line) > 1:
			event = append(event, line...)
		case len(event) > 0:
			return append(event, line...)
		}
	}
}

// kindsOf returns the first of the lines of each kind, and checks that each line is a JSON value.
func kindsOf(t *testing.T, lines []byte) []byte {
	t.Helper()
	var out []byte
	seen := map[string]bool{}
	for line := range bytes.Lines(lines) {
		var head struct{ Kind string }
		require.NoError(t, json.Unmarshal(line, &head), "%s", line)
		require.Equal(t, byte('\n'), line[len(line)-1])
		if !seen[head.Kind] {
			out = append(out, line...)
		}
		seen[head.Kind] = true
	}
	return out
}

// short leaves the lists of objects one element.
func short(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			v[name] = short(inner)
		}
	case []any:
		if len(v) > 1 {
			if _, objects := v[0].(map[string]any); objects {
				v = v[:1]
			}
		}
		for i, inner := range v {
			v[i] = short(inner)
		}
		return v
	}
	return v
}
