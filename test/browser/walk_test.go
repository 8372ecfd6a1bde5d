package browser_test

import (
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

func TestSigningInAndOut(t *testing.T) {
	t.Parallel()
	f := newFirm(t, "Acme Robotics")
	b := newTab(t, f.sys.API, look{})
	b.open(consolePath + "/events")
	b.at(consolePath + "/sign-in")
	b.accessible()
	b.rec.allow("status of 401")
	b.fill("API key", "fm_wrong")
	b.press("Sign in")
	b.sees("The key is unknown, revoked or expired.")
	b.accessible()
	b.fill("API key", f.Key)
	b.press("Sign in")
	b.at(consolePath + "/events") // where the reader wanted to go
	b.sees("Acme Robotics")
	got, err := chromedp.Call(b.ctx, network.GetCookies, network.GetCookiesParams{})
	require.NoError(t, err)
	require.Len(t, got.Cookies, 1)
	require.True(t, got.Cookies[0].HTTPOnly)
	require.EqualValues(t, "Lax", got.Cookies[0].SameSite)
	require.Empty(t, eval[string](b, "document.cookie"))
	b.press("Sign out")
	b.at(consolePath + "/sign-in")
	b.open(consolePath + "/events")
	b.at(consolePath + "/sign-in")
	eval[bool](b, "history.back(), true")
	b.until("the sign-in again", `location.pathname === "/console/sign-in" && document.readyState === "complete"`)
	b.lacks("Acme Robotics")
}

func TestTheFirstMailAppearsLive(t *testing.T) {
	t.Parallel()
	f := newFirm(t, "Acme")
	b := newTab(t, f.sys.API, look{})
	b.signIn(f.Key)
	b.open(consolePath + "/events")
	b.sees("No event")
	eval[bool](b, "window.stayed = true")
	f.note("The first one")
	first := f.newest()
	b.until("a row of the event", `document.querySelector('a[href$="`+first+`"]')`)
	require.True(t, eval[bool](b, "window.stayed"), "the page was loaded again")

	// A reader who is on a row does not lose it.
	b.keys("j")
	require.Contains(t, eval[string](b, "document.activeElement.href"), first)
	top := `Math.round(document.querySelector('a[href$="` + first + `"]').getBoundingClientRect().top)`
	was := eval[int](b, top)
	f.note("The second one")
	b.sees("1 new row")
	require.Equal(t, was, eval[int](b, top), "the row has moved")
	second := f.newest()
	require.NotEqual(t, first, second)
	b.press("1 new row")
	b.until("a row of the second event", `document.querySelector('a[href$="`+second+`"]')`)
	require.True(t, eval[bool](b, "window.stayed"))
}

// TestNothingMovesForThoseWhoAskForLessMotion compares how a new row appears with how it does for others.
func TestNothingMovesForThoseWhoAskForLessMotion(t *testing.T) {
	t.Parallel()
	f := newFirm(t, "Acme")
	f.note("The first one")
	f.newest()
	for _, moving := range []bool{false, true} {
		b := newTab(t, f.sys.API, look{moving: moving})
		b.signIn(f.Key)
		b.open(consolePath + "/events")
		// The row is new for a moment only, so that the page itself looks when it changes.
		eval[bool](b, `window.moved = new Promise(done => new MutationObserver(() => document.querySelector("table.list tr.new") && done(`+
			`[...document.querySelectorAll("*")].filter(e => { const s = getComputedStyle(e); return s.animationName !== "none" || `+
			`s.transitionDuration !== "0s" || s.scrollBehavior === "smooth" }).map(e => e.tagName))).observe(document.body, {childList: true, subtree: true})), true`)
		f.note("Another one")
		moved := eval[[]string](b, "window.moved")
		if moving {
			require.Contains(t, moved, "TD", "the test would see a row that moves")
		} else {
			require.Empty(t, moved)
		}
	}
}

func TestTheKeys(t *testing.T) {
	t.Parallel()
	f := newFirm(t, "Acme")
	f.note("First")
	first := f.newest()
	f.note("Second")
	require.Eventually(t, func() bool { return f.newest() != first }, patience, 20*time.Millisecond)
	b := newTab(t, f.sys.API, look{})
	b.signIn(f.Key)
	b.open(consolePath + "/events")
	b.keys("?")
	b.sees("Keys", "next and previous row")
	b.accessible()
	b.keys(kb.Escape)
	b.until("no dialog", `!document.querySelector("dialog[open]")`)
	b.keys("j")
	b.keys("j")
	require.Contains(t, eval[string](b, "document.activeElement.href"), first, "the second row is the older event")
	b.keys("k")
	require.NotContains(t, eval[string](b, "document.activeElement.href"), first)
	b.keys("j")
	b.keys("/")
	require.Equal(t, "search", eval[string](b, "document.activeElement.type"))
	b.keys("j") // is text now
	require.Equal(t, "j", eval[string](b, "document.activeElement.value"))
	b.keys(kb.Escape)
	b.keys("g")
	b.keys("o")
	b.at(consolePath + "/")
}
