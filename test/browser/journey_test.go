package browser_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// shows waits for the texts, and checks that the page can be read.
func (b *tab) shows(texts ...string) {
	b.t.Helper()
	b.sees(texts...)
	b.reads(b.path())
}

// count is the number of elements that a selector finds now.
func (b *tab) count(selector string) int {
	b.t.Helper()
	return eval[int](b, `document.querySelectorAll(`+quote(selector)+`).length`)
}

// eachWidth runs a test in a wide and a narrow tab. What can be pressed depends on the width, and not on the colours: reads
// looks at these.
func eachWidth(t *testing.T, test func(t *testing.T, l look)) {
	t.Helper()
	for _, l := range []look{{}, {narrow: true, dark: true}} {
		t.Run(l.String(), func(t *testing.T) {
			t.Parallel()
			test(t, l)
		})
	}
}

func TestALinkSignsInOnce(t *testing.T) {
	t.Parallel()
	f := newFirm(t, "Acme Robotics")
	var made struct{ Path string }
	f.do(http.MethodPost, consolePath+"/links", nil, &made)
	b := newTab(t, f.sys.API, look{})
	b.open(made.Path)
	b.shows("This link signs you in as Acme Robotics")
	b.press("Sign in")
	b.at(consolePath + "/")
	b.sees("Acme Robotics")
	b.press("Sign out")
	b.at(consolePath + "/sign-in")
	b.rec.allow("status of 404")
	b.open(made.Path)
	b.shows("The link is used already, or has expired.")
	b.open(consolePath + "/")
	b.at(consolePath + "/sign-in")
}

// TestAMailIsFoundFollowedAndSentAgain takes the way of somebody who asks where a mail is.
func TestAMailIsFoundFollowedAndSentAgain(t *testing.T) {
	t.Parallel()
	eachWidth(t, func(t *testing.T, l look) {
		f := newFirm(t, "Acme Robotics")
		f.receivers.Script("/orders", sink.FailFirst(1, sink.Answer{Status: http.StatusServiceUnavailable, Body: []byte("out of order")}))
		f.webhook("/orders", map[string]any{"description": "Order desk"})
		b := newTab(t, f.sys.API, l)
		b.signIn(f.Key)
		b.open(consolePath + "/events")
		b.sees("No event")
		f.note("Order 1815 of Ada")
		b.until("a row of the mail, live", `[...document.querySelectorAll("table.list tbody tr")].some(r => r.innerText.includes("Order 1815 of Ada"))`)
		f.received("/orders", 1)

		b.click("the search", `document.querySelector("header input[type=search]")`)
		b.keys("order 1815\r")
		b.at(consolePath + "/events/" + f.newest()) // the only one that is found
		b.sees("Accepted", "Relayed and fanned out to 1 delivery", "Attempt 1", "503", "of 8 attempts made")
		b.press("Retry now")
		b.sees("The delivery is due now.", "Attempt 2")
		b.shows("Attempt 1", "503", "Attempt 2", "200", "Order 1815 of Ada", "Good morning.")
		require.Equal(t, 1, b.count("#timeline > li[data-key]"))

		eval[bool](b, "window.before = true")
		b.press("Redeliver")
		b.until("the page again", `!window.before && document.readyState === "complete"`)
		b.sees("The event is sent again to the webhook.")
		f.received("/orders", 3)
		b.until("a second delivery, delivered", `document.querySelectorAll("#timeline > li.ok[data-key]").length === 2`)
		posts := f.receivers.PostsTo("/orders")
		require.Len(t, posts, 3)
		require.NoError(t, posts[2].VerifyErr)
		require.NotEqual(t, posts[0].Header.Get(sink.HeaderDelivery), posts[2].Header.Get(sink.HeaderDelivery), "it is a delivery of its own")
		b.reads(b.path())
	})
}

// TestAWebhookIsMadeTestedAndItsSecretRotated goes by forms alone, from a mistake to a secret.
func TestAWebhookIsMadeTestedAndItsSecretRotated(t *testing.T) {
	t.Parallel()
	eachWidth(t, func(t *testing.T, l look) {
		f := newFirm(t, "Acme Robotics")
		b := newTab(t, f.sys.API, l)
		b.signIn(f.Key)
		b.press("Webhooks")
		b.shows("No webhook yet.")
		b.press("New webhook")
		b.at(consolePath + "/webhooks/new")
		b.fill("URL", "ftp://files.example/orders")
		b.fill("Description", "Order desk")
		b.rec.allow("status of 422")
		b.press("Create")
		b.until("a fault at the URL", `document.querySelector("#url-fault")`)
		described := eval[string](b, `(e => e.getAttribute("aria-invalid") === "true" && document.getElementById(e.getAttribute("aria-describedby"))?.innerText)(document.querySelector("#url"))`)
		require.Contains(t, described, "http", "the fault says what the URL must be")
		require.Equal(t, "ftp://files.example/orders", eval[string](b, `document.querySelector("#url").value`), "what was typed stays")
		require.Equal(t, "Order desk", eval[string](b, `document.querySelector("#description").value`))
		b.shows("New webhook")

		b.fill("URL", f.receivers.URL("/orders"))
		b.press("Create")
		b.shows("Signing secret", "This is shown only now.")
		first := eval[string](b, `document.querySelector("#secret").innerText`)
		f.receivers.Secret("/orders", first)
		b.press("To the webhook")
		b.at(consolePath + "/webhooks/wh_*")
		b.press("Send a test")
		b.sees("A test delivery is on its way.")
		f.received("/orders", 1)
		b.until("its delivery", `[...document.querySelectorAll("table.list tbody tr")].some(r => /delivered/.test(r.innerText))`)

		b.press("Rotate the secret")
		b.shows("Make a new signing secret?")
		b.press("Yes, rotate")
		b.shows("requests are signed with the previous secret too")
		second := eval[string](b, `document.querySelector("#secret").innerText`)
		require.NotEqual(t, first, second)
		b.press("To the webhook")
		b.at(consolePath + "/webhooks/wh_*")
		b.lacks(first)
		b.lacks(second)
		f.note("Signed twice")
		f.received("/orders", 2)
		post := f.receivers.PostsTo("/orders")[1]
		require.NoError(t, post.VerifyErr, "the old secret verifies still")
		require.NoError(t, sink.Verify(second, post.Header, post.Body, post.At), "the new secret verifies")
		b.reads(b.path())
	})
}

// TestAWindowIsReplayedAfterAPreview sends what a webhook missed that was made too late.
func TestAWindowIsReplayedAfterAPreview(t *testing.T) {
	t.Parallel()
	eachWidth(t, func(t *testing.T, l look) {
		f := newFirm(t, "Acme Robotics")
		f.webhook("/orders", nil)
		for _, subject := range []string{"One", "Two", "Three"} {
			f.note(subject)
		}
		f.received("/orders", 3)
		late := f.webhook("/late", nil)
		b := newTab(t, f.sys.API, l)
		b.signIn(f.Key)
		b.open(consolePath + "/webhooks/" + late)
		b.press("Replay")
		b.at(consolePath + "/replays/new")
		b.fill("Since", "yesterday")
		b.rec.allow("status of 422")
		b.press("Count what it would send")
		b.until("a fault at the time", `document.querySelector("#since-fault, .fault")`)
		b.shows("New replay")
		b.fill("Since", "1h")
		b.press("Count what it would send")
		b.shows("3 deliveries to 1 webhooks.", f.receivers.URL("/late"))
		require.Zero(t, f.receivers.CountTo("/late"), "a preview sends nothing")
		b.press("Send them")
		b.at(consolePath + "/replays/rpl_*")
		b.until("its end, live", `/State (finished|completed|done|succeeded)/i.test(document.querySelector("#tiles").innerText.replace(/\s+/g, " "))`)
		b.shows("Delivered 3", "Failed 0")
		require.Equal(t, 3, f.receivers.CountTo("/late"))
		require.Equal(t, 3, f.receivers.CountTo("/orders"), "the other webhook gets nothing again")
	})
}

// portal makes a link that shows the webhooks in frames of the origin.
func (f *firm) portal(origin string, theme map[string]any, webhooks ...string) string {
	f.t.Helper()
	var made struct{ URL string }
	f.do(http.MethodPost, "/v1/portal-links", map[string]any{"webhook_ids": webhooks, "origins": []string{origin}, "theme": theme}, &made)
	return made.URL
}

// pathOf is a URL's path in a console.
func (f *firm) pathOf(address string) string {
	f.t.Helper()
	require.True(f.t, strings.HasPrefix(address, f.sys.API+"/"), "%s is not of %s", address, f.sys.API)
	return strings.TrimPrefix(address, f.sys.API)
}

// portalToken is what makes the paths of one link differ from those of another.
var portalToken = regexp.MustCompile(`/portal/[^/]+`)

// TestPortalPagesRead opens all pages of a portal link, with each kind of theme.
func TestPortalPagesRead(t *testing.T) {
	t.Parallel()
	f := busyFirm(t)
	var hooks struct{ Data []struct{ ID string } }
	f.get("/v1/webhooks", nil, &hooks)
	var ids []string
	for _, h := range hooks.Data {
		ids = append(ids, h.ID)
	}
	for name, theme := range map[string]map[string]any{
		"plain": nil, "german": {"language": "de", "accent": "#0a5bd3"},
		"dark": {"background": "#0b2545", "accent": "#123456"},
		"ink":  {"ink": "#202020", "card": "#fffbe6"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			link := f.portal("https://app.example.com", theme, ids...)
			b := newTab(t, f.sys.API, look{})
			pages := b.crawl(1, b.reads, f.pathOf(link))
			t.Logf("pages: %v", pages)
			for _, want := range []string{"/", "/webhooks/*", "/deliveries/*", "/events/*"} {
				found := false
				for shape := range pages {
					found = found || portalToken.ReplaceAllString(shape, "") == consolePath+want
				}
				require.True(t, found, "no link leads to %s", want)
			}
		})
	}
}
