package browser_test

import (
	"crypto/rand"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// long is a text of n letters without a space.
func long(n int) string { return strings.Repeat("Donaudampfschiffahrt", n/20+1)[:n] }

// Names that are read from right to left, and pictures that are several code points each.
const (
	rightToLeft = "شركة الروبوتات (إدارة الطلبات) 2026"
	emoji       = "👩🏽‍🚀🏳️‍🌈👨‍👩‍👧‍👦🇺🇳"
)

// longFirm is a firm with texts that are as long as its customers and strangers may write them, or from right to left. It
// returns the ids of a webhook with a long URL and of one with foreign letters.
func longFirm(t testing.TB) (f *firm, hook, foreign string) {
	t.Helper()
	label := func(n int) string { return strings.ToLower(rand.Text()[:12] + long(n-12)) }
	f = newFirmAt(t, rightToLeft+long(100), label(60)+"."+label(60)+".example")
	domain := strings.Split(f.agent, "@")[1]
	f.receivers.Script("/refusing/", sink.Always(sink.Answer{Status: http.StatusServiceUnavailable, Body: []byte(long(900))}))
	for _, name := range []string{long(200), rightToLeft, emoji + emoji} {
		f.do(http.MethodPost, "/v1/keys", map[string]any{"name": name, "networks": []string{"2001:db8:1111:2222:3333:4444:5555:6666/128"}}, nil)
	}
	f.do(http.MethodPost, "/v1/domains", map[string]any{"domain": label(60) + "." + label(60) + "." + label(60) + ".example"}, nil)
	f.do(http.MethodPost, "/v1/agents", map[string]any{
		"address": strings.ToLower(long(64)) + "@" + domain, "webhook_url": f.receivers.URL("/own/") + long(500),
		"deny_senders": []string{strings.ToLower(long(60)) + "@" + label(60) + ".example"},
	}, nil)
	own := "ordering." + strings.ToLower(long(60))
	f.do(http.MethodPost, "/v1/event-types", map[string]any{
		"name": own, "description": rightToLeft + long(150), "schema": map[string]any{"type": "object"}, "sample": map[string]any{long(60): long(300)},
	}, nil)
	many := map[string]any{
		"description": long(200), "events": []string{"email.received", "email.sent", own, "*"}, "headers": map[string]string{"X-" + long(60): long(100)},
		"filters": map[string]any{"agent_ids": []string{f.agent}},
	}
	f.webhook("/refusing/", nil)
	hook = f.webhook("/refusing/"+long(1000), many)
	foreign = f.webhook("/answering/"+url.PathEscape(rightToLeft), map[string]any{"description": rightToLeft + emoji, "events": []string{"*"}})
	for _, subject := range []string{long(200), rightToLeft, emoji, strings.Repeat("many words ", 20)} {
		f.mail("From: " + word(rightToLeft+long(80)) + " <" + strings.ToLower(long(64)) + "@" + label(60) + ".example.net>\n" +
			"To: " + f.agent + "\nCc: " + word(emoji) + " <cc@" + label(60) + ".example>\nSubject: " + word(subject) + "\n" +
			"Message-ID: <" + long(200) + rand.Text() + "@example.net>\nDate: Mon, 02 Nov 2026 10:00:00 +0000\nMIME-Version: 1.0\n" +
			"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\n" + long(900) + "\n" + rightToLeft + "\n" +
			"--b\nContent-Type: application/" + long(60) + "\nContent-Disposition: attachment; filename=" + long(200) + ".pdf\n\nx\n--b--\n")
	}
	f.do(http.MethodPost, "/v1/events", map[string]any{
		"type": "email.sent", "agent_id": f.agent, "conversation_id": long(200), "labels": []string{long(100), rightToLeft}, "message_id": long(200),
		"data": map[string]any{long(100): long(2000)},
	}, nil)
	f.received("/refusing/", 4)
	f.do(http.MethodPost, "/v1/replays", map[string]any{
		"since": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), "webhook_id": hook, "mode": "all", "types": []string{"email.received", own}, "agent_ids": []string{f.agent},
	}, nil)
	f.portal("https://"+label(60)+"."+label(60)+".example", nil, hook)
	f.do(http.MethodPost, "/v1/erasures", map[string]any{"address": strings.ToLower(long(64)) + "@" + label(60) + ".example"}, nil)
	return f, hook, foreign
}

// TestLongTextsFit opens all pages of a firm whose texts are long or from right to left: no page scrolls sideways, and no
// text leaves its box.
func TestLongTextsFit(t *testing.T) {
	t.Parallel()
	f, hook, foreign := longFirm(t)
	fits := func(b *tab) func(string) {
		return func(string) {
			for _, l := range []look{{}, {narrow: true}} {
				b.wear(l)
				b.fits()
			}
		}
	}
	t.Run("tenant", func(t *testing.T) {
		t.Parallel()
		b := newTab(t, f.sys.API, look{})
		b.signIn(f.Key)
		b.rec.allow("status of 422") // a type as long as that is refused
		for _, path := range []string{"/search?q=" + long(300), "/events?type=" + long(300), "/?flash=" + long(300)} {
			b.open(consolePath + path)
			fits(b)(path)
		}
		t.Log(b.crawl(1, fits(b), consolePath+"/", consolePath+"/search?q="+url.QueryEscape(long(20)), consolePath+"/webhooks/"+hook))
	})
	t.Run("operator", func(t *testing.T) {
		t.Parallel()
		b := newTab(t, f.sys.API, look{})
		b.signIn(f.sys.OperatorKey)
		t.Log(b.crawl(1, fits(b), consolePath+"/operator/tenants/"+f.id, consolePath+"/operator"))
	})
	t.Run("portal", func(t *testing.T) {
		t.Parallel()
		b := newTab(t, f.sys.API, look{})
		t.Log(b.crawl(2, fits(b), f.pathOf(f.portal("https://app.example.com", nil, hook, foreign))))
	})
}
