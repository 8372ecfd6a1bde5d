package console_test

import (
	"bufio"
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/console"
)

// watch opens a live page and returns the events of the stream. The channel is closed when the stream ends.
func (b *browser) watch(page string) (status int, events <-chan string) {
	b.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b.w.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.w.url+console.Base+"/live?page="+url.QueryEscape(page), nil)
	require.NoError(b.w.t, err)
	resp, err := (&http.Client{Jar: b.client.Jar}).Do(r)
	require.NoError(b.w.t, err)
	out := make(chan string, 100)
	go func() {
		defer close(out)
		defer func() { _ = resp.Body.Close() }()
		var event []string
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if lines.Text() != "" {
				event = append(event, lines.Text())
				continue
			}
			out <- strings.Join(event, "\n")
			event = nil
		}
	}()
	return resp.StatusCode, out
}

// await waits for an event that holds a text. It reports false when the stream ends first.
func await(t *testing.T, events <-chan string, text string) bool {
	t.Helper()
	timeout := time.After(60 * time.Second)
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return false
			}
			if strings.Contains(e, text) {
				return true
			}
		case <-timeout:
			require.Fail(t, "no event holds "+text)
		}
	}
}

func ended(t *testing.T, events <-chan string) {
	t.Helper()
	require.False(t, await(t, events, "this is in no event"), "the stream has ended")
}

func TestAPageIsSentAgainWhenItHasChanged(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	status, events := b.watch("/console/events")
	require.Equal(t, 200, status)
	require.True(t, await(t, events, "event: live"))
	var made struct{ ID string }
	w.call(w.tenantKey, "POST", "/v1/events", map[string]any{"type": "email.sent", "data": map[string]any{}}, &made)
	require.True(t, await(t, events, made.ID))
	// Nothing changes, so that nothing is sent: the next event is of another mail.
	var other struct{ ID string }
	w.call(w.tenantKey, "POST", "/v1/events", map[string]any{"type": "email.sent", "data": map[string]any{}}, &other)
	select {
	case e := <-events:
		require.Contains(t, e, other.ID)
	case <-time.After(60 * time.Second):
		require.Fail(t, "no event")
	}
}

func TestALivePageEndsWithItsSession(t *testing.T) {
	t.Parallel()
	w := start(t)
	for name, end := range map[string]func(b *browser){
		"sign-out": func(b *browser) { b.get("/"); b.post("/sign-out", url.Values{}).want(303) },
		"revoked key": func(*browser) {
			exec(t, w, `UPDATE fanmail.api_keys SET revoked_at = now() WHERE tenant_id IS NOT NULL`)
		},
	} {
		b := w.signedIn(w.tenantKey)
		_, events := b.watch("/console/")
		require.True(t, await(t, events, "event: live"), name)
		end(b)
		require.True(t, await(t, events, "event: end"), name)
		ended(t, events)
		exec(t, w, `UPDATE fanmail.api_keys SET revoked_at = NULL`)
	}
}

func TestLivePagesEndWithTheProcess(t *testing.T) {
	t.Parallel()
	stopping := make(chan struct{})
	w := start(t, func(o *console.Options) { o.Stopping = stopping })
	_, events := w.signedIn(w.tenantKey).watch("/console/")
	require.True(t, await(t, events, "event: live"))
	close(stopping)
	ended(t, events)
}

// A file, an export or a form would be made again each time, in memory and with its effects.
func TestOnlyPagesWithALivePartAreWatched(t *testing.T) {
	t.Parallel()
	w := start(t)
	event, message := w.mail(map[string]any{"subject": "Order"}, "Subject: Order\r\n\r\nhello\r\n")
	b := w.signedIn(w.tenantKey)
	refused := []string{"/messages/" + message + "/raw", "/%6dessages/" + message + "/raw", "/events/" + event + "/envelope", "/export/all", "/%6cive", "/no-page"}
	live := 0
	for _, route := range console.Routes(w.console) {
		pattern, get := strings.CutPrefix(route, "GET ")
		switch {
		case console.Watched(w.console, route):
			live++
		case get:
			refused = append(refused, unnamed(pattern))
		}
	}
	require.Equal(t, console.LivePages(w.console), live, "each page with a live part can be watched")
	for _, page := range refused {
		d := b.get("/live?page=" + url.QueryEscape(console.Base+page)).want(http.StatusBadRequest)
		require.Contains(t, words(d.root), "page has no live part", page)
	}
	require.Zero(t, count(t, w, `SELECT count(*) FROM fanmail.audit_log WHERE operation = 'export-tenant'`))
	for _, page := range []string{"/events/" + event, "/%65vents/" + event, "/webhooks?cursor=", "/"} {
		_, events := b.watch(console.Base + page)
		require.True(t, await(t, events, "event: live"), page)
	}
}

func TestALivePartIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	w := start(t)
	exec(t, w, `INSERT INTO fanmail.processes (id, kind, name, version, components, seen) VALUES (gen_random_uuid(), 'publisher', 'a', 'v1',
		jsonb_build_array(jsonb_build_object('name', 'broker', 'status', 'failing', 'error', repeat('x', 5 << 20))), now())`)
	b := w.signedIn(w.operatorKey)
	require.Greater(t, len(b.get("/operator").want(http.StatusOK).text), 5<<20)
	_, events := b.watch("/console/operator")
	require.True(t, await(t, events, "has more than 4 MiB, which is the limit"))
	ended(t, events)
}

func TestLiveTakesThePagesOfTheConsoleOnlyAndABoundedNumber(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	for _, page := range []string{"", "/v1/tenants", "https://evil.example/", "/console", "/console/live?page=/console/", "//evil", "/consolefoo"} {
		status, _ := b.watch(page)
		require.Equal(t, 400, status, page)
	}
	status, _ := w.browser().watch("/console/")
	require.Equal(t, 401, status)
	for range 50 {
		status, _ := b.watch("/console/events")
		require.Equal(t, 200, status)
	}
	status, _ = b.watch("/console/events")
	require.Equal(t, 429, status)
	_, key := w.tenant("another")
	status, events := w.signedIn(key).watch("/console/events")
	require.Equal(t, 200, status, "each tenant has its own bound")
	require.True(t, await(t, events, "event: live"))
}
