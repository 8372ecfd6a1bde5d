package browser_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// busyFirm is a firm with something on each page: a webhook that answers, one that refuses, two mails and an own event.
func busyFirm(t testing.TB) *firm {
	t.Helper()
	f := newFirm(t, "Acme Robotics")
	f.receivers.Script("/refusing", sink.Always(sink.Answer{Status: http.StatusServiceUnavailable, Body: []byte("out of order")}))
	f.webhook("/orders", map[string]any{"description": "Order desk", "events": []string{"*"}})
	f.webhook("/refusing", map[string]any{"description": "Warehouse"})
	f.note("Order 1815")
	f.mail("From: Grace Hopper <grace@example.net>\nTo: " + f.agent + "\nSubject: Order 1906\nMIME-Version: 1.0\n" +
		"Content-Type: text/html; charset=utf-8\n\n<h1>Order</h1><p style=\"color: #036\">One <b>compiler</b>, please.</p>\n")
	f.received("/orders", 2)
	f.received("/refusing", 2)
	f.do(http.MethodPost, "/v1/domains", map[string]any{"domain": "unverified." + strings.ToLower(rand.Text()) + ".example"}, nil)
	f.do(http.MethodPatch, "/v1/webhooks/"+f.webhook("/paused", nil), map[string]any{"paused": true}, nil)
	f.do(http.MethodPost, "/v1/replays", map[string]any{"since": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), "mode": "all"}, nil)
	f.do(http.MethodPost, "/v1/agents", map[string]any{
		"address": "with-a-webhook-of-its-own@" + strings.Split(f.agent, "@")[1], "webhook_url": f.receivers.URL("/own"), "deny_senders": []string{"@spam.example"},
	}, nil)
	return f
}

// reads fails the test if a page can't be read in light or dark, wide or narrow: a heading, a title, landmarks, nothing
// serious for axe-core, no scrolling sideways. The page is loaded once, and afterwards looks as before.
func (b *tab) reads(path string) {
	b.t.Helper()
	require.NotEmpty(b.t, eval[string](b, `(document.querySelector("main h1") || {innerText: ""}).innerText.trim()`), "%s has no heading", path)
	require.NotContains(b.t, b.text(), "There is no such page", "a link leads to %s", path)
	own := b.look
	for _, l := range []look{own, own.opposite()} {
		b.wear(l)
		b.fits()
		if !l.noScript { // axe-core waits for timers, which don't run then
			b.accessible()
		}
	}
	b.wear(own)
}

// TestEveryPageReads opens all pages that links lead to. No row of theirs moves as time passes.
func TestEveryPageReads(t *testing.T) {
	t.Parallel()
	f := busyFirm(t)
	crawl := func(t *testing.T, key string, from ...string) {
		b := newTab(t, f.sys.API, look{})
		b.keepTimers()
		b.signIn(key)
		times := 0
		t.Logf("pages: %v", b.crawl(1, func(path string) {
			b.reads(path)
			times += b.still(path)
			b.wear(look{narrow: true})
			b.still(path)
			b.wear(look{})
		}, from...))
		require.Greater(t, times, 5, "relative times were seen")
	}
	t.Run("tenant", func(t *testing.T) {
		t.Parallel()
		crawl(t, f.Key, consolePath+"/", consolePath+"/search?q="+url.QueryEscape("Order 1815"))
	})
	t.Run("event types", func(t *testing.T) { // their pages are alike, and differ in their texts
		t.Parallel()
		b := newTab(t, f.sys.API, look{})
		b.signIn(f.Key)
		b.eachType(b.reads)
	})
	t.Run("operator", func(t *testing.T) {
		t.Parallel()
		crawl(t, f.sys.OperatorKey, consolePath+"/operator")
	})
}

// eachType opens the page of each event type.
func (b *tab) eachType(look func(path string)) {
	b.t.Helper()
	b.open(consolePath + "/event-types")
	types := slices.DeleteFunc(b.links(), func(path string) bool { return shape(path) != consolePath+"/event-types/*" })
	require.Greater(b.t, len(types), 10)
	for _, path := range types {
		b.open(path)
		look(path)
	}
}

// TestPagesOfAnEmptyTenantRead opens those that have nothing to show yet.
func TestPagesOfAnEmptyTenantRead(t *testing.T) {
	t.Parallel()
	f := newFirm(t, "Acme Robotics")
	f.do(http.MethodDelete, "/v1/agents/"+f.agent, nil, nil)
	b := newTab(t, f.sys.API, look{})
	b.signIn(f.Key)
	b.crawl(1, b.reads, consolePath+"/", consolePath+"/search?q=nothing", consolePath+"/search")
}

// TestPagesReadWithoutScript opens them with JavaScript off.
func TestPagesReadWithoutScript(t *testing.T) {
	t.Parallel()
	f := busyFirm(t)
	b := newTab(t, f.sys.API, look{noScript: true})
	b.signIn(f.Key)
	b.crawl(1, b.reads, consolePath+"/")
	b.open(consolePath + "/")
	b.click("the search", `document.querySelector("input[type=search]")`)
	b.keys("Order 1815\r")
	b.at(consolePath + "/events/*") // the only event that is found is opened at once
	b.sees("Order 1815", "Attempt 1", "503")
}
