package browser_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// product is a web page of another site, which shows an address in a frame. It returns the page's origin.
func product(t testing.TB, address *string) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNoContent) // the icon
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><title>A product</title><h1>Your deliveries</h1><iframe src="%s" width="900" height="600"></iframe>`,
			html.EscapeString(*address))
	}))
	t.Cleanup(srv.Close)
	// Another host than the console's, so that it is another site too, whose frames get no cookies.
	return strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
}

// framed returns the value of an expression in the page's only frame. ok is false while the frame is being replaced.
func framed[T any](ctx context.Context, expression string) (value T, ok bool) {
	tree, err := chromedp.Call(ctx, page.GetFrameTree, struct{}{})
	if err != nil || len(tree.FrameTree.ChildFrames) != 1 {
		return value, false
	}
	world, err := chromedp.Call(ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: tree.FrameTree.ChildFrames[0].Frame.ID})
	if err != nil {
		return value, false
	}
	byValue := true
	got, err := chromedp.Call(ctx, runtime.Evaluate, runtime.EvaluateParams{
		Expression: expression, ContextID: world.ExecutionContextID, ReturnByValue: &byValue,
	})
	if err != nil || got.ExceptionDetails != nil || got.Result == nil {
		return value, false
	}
	return value, json.Unmarshal([]byte(got.Result.Value), &value) == nil
}

// framedUntil waits until an expression is true in the frame.
func (b *tab) framedUntil(what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if is, ok := framed[bool](ctx, "Boolean("+expression+")"); ok && is {
			return
		}
		select {
		case <-ctx.Done():
			text, _ := framed[string](b.ctx, "document.body.innerText")
			require.FailNow(b.t, "the frame does not show it", "%s; it shows %.500s", what, text)
		case <-tick.C:
		}
	}
}

// framedPress clicks a link or button in the frame.
func (b *tab) framedPress(words string) {
	b.t.Helper()
	b.framedUntil("something to press called "+words, `(e => e && (e.click(), true))(`+pressable(words)+`)`)
}

func framedText(text string) string {
	return `document.body && document.body.innerText.replace(/\s+/g, " ").includes(` + quote(text) + `)`
}

// TestAPortalLinkIsShownInFramesOfItsOriginsAlone opens it within the page of a customer's product, and within another.
func TestAPortalLinkIsShownInFramesOfItsOriginsAlone(t *testing.T) {
	t.Parallel()
	f := newFirm(t, "Acme Robotics")
	f.receivers.Script("/orders", sink.FailFirst(1, sink.Answer{Status: http.StatusServiceUnavailable, Body: []byte("out of order")}))
	shown := f.webhook("/orders", map[string]any{"description": "Order desk"})
	f.webhook("/secret", map[string]any{"description": "Somebody else's"})
	f.note("Order 1815")
	f.received("/orders", 1)
	var link string
	own, foreign := product(t, &link), product(t, &link)
	link = f.portal(own, map[string]any{"accent": "#0a5bd3"}, shown)

	t.Run("its origin", func(t *testing.T) {
		b := newTab(t, f.sys.API, look{})
		b.rec.allowOrigin(own)
		b.visit(own + "/")
		b.framedUntil("the webhook", framedText("Order desk"))
		whole, _ := framed[string](b.ctx, "document.body.innerText")
		require.NotContains(t, whole, "Somebody else")
		colour, _ := framed[string](b.ctx, `getComputedStyle(document.documentElement).getPropertyValue("--accent").trim()`)
		require.Equal(t, "#0a5bd3", colour, "the theme is loaded in the frame")
		b.framedPress(f.receivers.URL("/orders"))
		b.framedUntil("the webhook's deliveries", framedText("pending"))
		b.framedUntil("the delivery", `(e => e && (e.click(), true))(document.querySelector("table.list tbody a"))`)
		b.framedUntil("the failed attempt", framedText("503"))
		b.framedPress("Retry now")
		b.framedUntil("the answer", framedText("The delivery is tried again now."))
		f.received("/orders", 2)
		require.Equal(t, "Your deliveries", eval[string](b, `document.querySelector("h1").innerText`), "the frame leaves its page alone")
	})
	for name, in := range map[string]struct{ page, address string }{
		"another origin":                {foreign, link},
		"the console in a named origin": {own, f.sys.API + consolePath + "/sign-in"},
	} {
		t.Run(name, func(t *testing.T) {
			link = in.address
			b := newTab(t, f.sys.API, look{})
			b.rec.allowOrigin(in.page)
			b.rec.allow("frame-ancestors")
			b.rec.allow("X-Frame-Options")
			b.visit(in.page + "/")
			b.framedUntil("Chromium's own page", `location.protocol === "chrome-error:"`)
			refused := 0
			for _, s := range b.rec.all() {
				if strings.Contains(s, "frame-ancestors") {
					refused++
				}
			}
			require.NotZero(t, refused, "the policy refuses it")
			text, _ := framed[string](b.ctx, "document.body.innerText")
			require.NotContains(t, text, "Order desk")
			require.NotContains(t, text, "API key")
		})
	}
}
