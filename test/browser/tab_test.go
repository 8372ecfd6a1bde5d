package browser_test

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// open loads a page of the console; path begins with "/".
func (b *tab) open(path string) {
	b.t.Helper()
	b.visit(b.base + path)
}

// visit loads a page of any origin.
func (b *tab) visit(address string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.Navigate(address)), "open %s", address)
}

// eval returns the value of an expression in the page. Promises are waited for. It works with JavaScript off too, since
// it is the debugger that evaluates.
func eval[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	require.NoError(b.t, err, "evaluate %.200s", expression)
	return v
}

// until waits until an expression is true. A page that is being replaced has no value and is asked again.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("Boolean("+expression+")"))
		if err == nil && ok {
			return
		}
		select {
		case <-ctx.Done():
			require.FailNow(b.t, "the page does not show it", "%s; the last error: %v", what, err)
		case <-tick.C:
		}
	}
}

// quote makes a string an expression of JavaScript.
func quote(s string) string {
	j, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(j)
}

// sees waits until the page's visible text contains each of the texts. White space counts as one space.
func (b *tab) sees(texts ...string) {
	b.t.Helper()
	for _, text := range texts {
		b.until("the text "+text, `document.body && document.body.innerText.replace(/\s+/g, " ").includes(`+quote(text)+`)`)
	}
}

// lacks reports that the page's visible text does not contain the text now.
func (b *tab) lacks(text string) {
	b.t.Helper()
	require.NotContains(b.t, b.text(), text)
}

// text is the page's visible text; white space is one space.
func (b *tab) text() string {
	b.t.Helper()
	b.until("a whole page", `document.readyState === "complete"`)
	return eval[string](b, `document.body.innerText.replace(/\s+/g, " ")`)
}

// at waits until the tab's path, without the query, is the given one or begins with what stands before a "*".
func (b *tab) at(path string) {
	b.t.Helper()
	want := `location.pathname === ` + quote(path)
	if prefix, ok := strings.CutSuffix(path, "*"); ok {
		want = `location.pathname.startsWith(` + quote(prefix) + `)`
	}
	b.until("the path "+path, want+` && document.readyState === "complete"`)
}

// path is the path of the tab's page.
func (b *tab) path() string {
	b.t.Helper()
	return eval[string](b, "location.pathname")
}

// finder finds what a reader would press or fill by its words. It returns an expression whose value is the first visible
// element, or undefined.
func pressable(words string) string {
	return `[...document.querySelectorAll("a, button, summary, [role=button], input[type=submit]")].filter(e => e.checkVisibility()).find(e => ` +
		`[e.innerText, e.value, e.getAttribute("aria-label")].some(w => w && w.trim().replace(/\s+/g, " ") === ` + quote(words) + `))`
}

// labelled is the visible input, select or textarea with a label or aria-label of these words.
func labelled(words string) string {
	return `[...document.querySelectorAll("input, select, textarea")].filter(e => e.checkVisibility()).find(e => ` +
		`[...(e.labels || [])].map(l => [...l.childNodes].filter(n => n !== e && !(n.contains && n.contains(e))).map(n => n.textContent).join(" "))` +
		`.concat(e.getAttribute("aria-label") || []).some(w => w.trim().replace(/\s+/g, " ") === ` + quote(words) + `))`
}

// press clicks the link or button of these words with the mouse, once it is there.
func (b *tab) press(words string) {
	b.t.Helper()
	b.click("something to press called "+words, pressable(words))
}

// click clicks the middle of the element that the expression finds, once it is there, enabled and not covered.
func (b *tab) click(what, element string) {
	b.t.Helper()
	b.until(what, `(e => e && !e.disabled)(`+element+`)`)
	point := eval[[]float64](b, `(e => { e.scrollIntoView({block: "center", behavior: "instant"}); const r = e.getClientRects()[0]; `+
		`return [r.left + r.width / 2, r.top + r.height / 2] })(`+element+`)`)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, chromedp.Do(ctx, chromedp.MouseClickXY(point[0], point[1])), "click %s", what)
}

// fill pastes text into the input of this label. A select gets the option of this text or value.
func (b *tab) fill(label, text string) {
	b.t.Helper()
	element := labelled(label)
	b.until("an input called "+label, element)
	if eval[bool](b, `(e => { if (e.tagName !== "SELECT") return false; `+
		`const o = [...e.options].find(o => o.text.trim() === `+quote(text)+` || o.value === `+quote(text)+`); `+
		`e.value = o.value; e.dispatchEvent(new Event("change", {bubbles: true})); return true })(`+element+`)`) {
		return
	}
	eval[bool](b, `(e => { e.focus(); e.value = ""; return true })(`+element+`)`)
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	_, err := chromedp.Call(ctx, input.InsertText, input.InsertTextParams{Text: text})
	require.NoError(b.t, err, "fill in %s", label)
}

// keys presses one key after another. A key with a text is one event, as from a keyboard: a page that prevents it gets no
// character.
func (b *tab) keys(keys string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for _, r := range keys {
		k, ok := kb.Keys[r]
		if !ok {
			k = &kb.Key{Key: string(r), Text: string(r), Unmodified: string(r)}
		}
		down := input.DispatchKeyEventParams{
			Type: input.DispatchKeyEventTypeKeyDown, Key: k.Key, Code: k.Code, Text: k.Text, UnmodifiedText: k.Unmodified,
			WindowsVirtualKeyCode: k.Windows, NativeVirtualKeyCode: k.Native,
		}
		up := down
		up.Type, up.Text, up.UnmodifiedText = input.DispatchKeyEventTypeKeyUp, "", ""
		for _, p := range []input.DispatchKeyEventParams{down, up} {
			_, err := chromedp.Call(ctx, input.DispatchKeyEvent, p)
			require.NoError(b.t, err, "press a key")
		}
	}
}

// fits fails the test if the page scrolls sideways, or if a text sticks out of a box around it that does not scroll.
func (b *tab) fits() {
	b.t.Helper()
	wide := eval[string](b, `(() => { const w = document.documentElement.clientWidth; if (document.documentElement.scrollWidth <= w) return ""; `+
		`return [...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > w + 1 && e.checkVisibility()).slice(0, 5).map(e => `+
		`e.tagName + "." + e.className + " ends at " + Math.round(e.getBoundingClientRect().right) + ": " + e.innerText.slice(0, 60)).join("; ") || "something" })()`)
	assert.Empty(b.t, wide, "%s scrolls sideways in a tab of this width (%s)", b.path(), b.look)
	out := eval[[]string](b, `(() => { const out = [], r = document.createRange(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); `+
		`while (walk.nextNode()) { const text = walk.currentNode; let e = text.parentElement; if (!text.data.trim() || !e.checkVisibility() || e.closest("svg, .hidden, .skip, option")) continue; `+
		`r.selectNodeContents(text); const t = r.getBoundingClientRect(); `+
		`for (; e && e !== document.body; e = e.parentElement) { const s = getComputedStyle(e); if (s.overflowX !== "visible") break; if (s.display.startsWith("inline") && s.display !== "inline-block" || s.display === "contents") continue; `+
		`const box = e.getBoundingClientRect(); if (t.right > box.right + 1 || t.left < box.left - 1) { `+
		`out.push(e.tagName + "." + e.className + " " + Math.round(box.left) + " to " + Math.round(box.right) + " has a text from " + Math.round(t.left) + " to " + Math.round(t.right) + ": " + text.data.trim().slice(0, 60)); break } } } `+
		`return out.slice(0, 5) })()`)
	assert.Empty(b.t, out, "texts of %s leave their boxes (%s)", b.path(), b.look)
}
