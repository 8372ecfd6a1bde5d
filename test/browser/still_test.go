package browser_test

import (
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// timers keeps the function by which the page's script lets its relative times go on, so that a test need not wait for it.
const timers = `{ const set = setInterval; window.setInterval = (f, every) => { if (every === 1000) window.timesGoOn = f; return set(f, every) } }`

// keepTimers makes the tab's later pages keep their timer.
func (b *tab) keepTimers() {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: timers})
	require.NoError(b.t, err)
}

// ages gives all relative times of the page's tables ages from nothing to years, and times to come. It returns the rows and
// cells that are not where they were, and the number of times.
const ages = `(() => {
  const times = [...document.querySelectorAll("table time[datetime]:not([data-fixed])")], real = times.map(t => t.dateTime), moved = [];
  const boxes = () => [...document.querySelectorAll("table tr, table th, table td")].map(e => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height].map(Math.round).join(" ") });
  let before = null;
  for (const s of [0.5, 1.5, 9.5, 10.5, 59.5, 60.5, 599, 601, 3599, 3601, 35999, 36001, 86399, 172799, 172801, 8640001, 99999999, -5, -59.5, -3599, -172799]) {
    const at = new Date(Date.now() - s * 1000).toISOString();
    for (const t of times) t.dateTime = at;
    window.timesGoOn();
    const now = boxes();
    if (before) now.forEach((box, i) => { if (box !== before[i]) moved.push(times[0].textContent + ": " + before[i] + " -> " + box) });
    before = now;
  }
  times.forEach((t, i) => { t.dateTime = real[i] });
  window.timesGoOn();
  return {moved, times: times.length};
})()`

// still fails the test if a row or a cell of the page moves as time passes: what stands beside "now" stays where it is when
// that becomes "59 min ago". It returns the number of relative times. The tab keeps its timers.
func (b *tab) still(path string) (times int) {
	b.t.Helper()
	b.until("its script", "window.timesGoOn")
	got := eval[struct {
		Moved []string
		Times int
	}](b, ages)
	require.Empty(b.t, got.Moved, "%s %s", path, b.look)
	return got.Times
}
