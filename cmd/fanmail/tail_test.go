package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

func TestEventsAreSeenAsTheyHappen(t *testing.T) {
	t.Parallel()
	dir := up(t)
	must(t, dir, "", "agents", "create", "agent@fanmail.example")
	out, stop := background(t, dir, "events", "tail", "--type", "email.sent", "--agent", "agent@fanmail.example")
	out.shows(t, "watching")
	must(t, dir, `{"subject":"of nobody"}`, "events", "create", "email.sent")
	must(t, dir, `{"subject":"another type"}`, "events", "create", "email.received", "--agent", "agent@fanmail.example")
	must(t, dir, `{"subject":"this one"}`, "events", "create", "email.sent", "--agent", "agent@fanmail.example")
	out.shows(t, `"this one"`)
	require.NotContains(t, out.String(), "of nobody")
	require.NotContains(t, out.String(), "another type")
	require.Zero(t, stop())

	// Past events, as JSON.
	out, stop = background(t, dir, "events", "tail", "--since", "1h", "--json")
	out.shows(t, "this one")
	require.Contains(t, out.String(), "of nobody")
	require.Zero(t, stop())
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "{") {
			require.True(t, json.Valid([]byte(line)), line)
		}
	}
}

func TestForwardedEventsAreSignedWithTheSameSecretAtEveryStart(t *testing.T) {
	t.Parallel()
	dir := up(t)
	type post struct {
		header http.Header
		body   []byte
	}
	posts := make(chan post, 10)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil {
			posts <- post{r.Header, b}
		}
	}))
	t.Cleanup(other.Close)
	var secrets []string
	for range 2 {
		out, stop := background(t, dir, "listen", "--forward", other.URL)
		out.shows(t, "signing secret, the same at every start: whsec_")
		_, secret, _ := strings.Cut(out.String(), "every start: ")
		secret, _, _ = strings.Cut(secret, "\n")
		secrets = append(secrets, secret)
		must(t, dir, `{"n":1}`, "events", "create", "email.sent")
		got := <-posts
		require.NoError(t, signature.Verify(secret, got.header, got.body, time.Now(), 0))
		require.Contains(t, string(got.body), `"data":{"n":1}`)
		require.NotEmpty(t, got.header.Get("Fanmail-Delivery-Id"))
		out.shows(t, "→ 200 (forwarded)")
		require.Empty(t, listing(t, dir, "webhooks", "list"), "forwarding needs no webhook")
		require.Zero(t, stop())
	}
	require.Equal(t, secrets[0], secrets[1])

	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	t.Cleanup(refuses.Close)
	out, stop := background(t, dir, "listen", "--forward", refuses.URL)
	out.shows(t, "every start: ")
	must(t, dir, `{"n":1}`, "events", "create", "email.sent")
	out.shows(t, "→ 401 (forwarded; the server must verify with the signing secret that is printed above)")
	require.Zero(t, stop())
}

func TestStatsForPeople(t *testing.T) {
	t.Parallel()
	dir := up(t)
	out, _ := background(t, dir, "listen")
	out.shows(t, "listening on")
	must(t, dir, `{"n":1}`, "events", "create", "email.sent")
	out.shows(t, "→ 200")
	require.Eventually(t, func() bool {
		for line := range strings.Lines(must(t, dir, "", "stats")) {
			f := strings.Fields(line)
			if len(f) > 4 && f[0] == "all" && f[1] == "1" && f[4] == "100.0%" {
				return true
			}
		}
		return false
	}, patience, 50*time.Millisecond)
	require.Contains(t, must(t, dir, "", "stats", "--json"), `"success_rate": 1`)
}
