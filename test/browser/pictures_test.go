//go:build pictures

package browser_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// TestPicturesOfTheConsole writes the pictures of README and docs to docs/pictures: `make pictures` runs it.
func TestPicturesOfTheConsole(t *testing.T) {
	f := newFirm(t, "Acme Robotics")
	f.receivers.Script("/warehouse", sink.FailFirst(1, sink.Answer{Status: http.StatusServiceUnavailable, Body: []byte("out of order")}))
	f.webhook("/orders", map[string]any{"description": "Order desk", "events": []string{"*"}})
	broken := f.webhook("/warehouse", map[string]any{"description": "Warehouse"})
	f.note("Where is my event?")
	event := f.newest()
	require.NoError(t, f.receivers.WaitForPath(t.Context(), "/warehouse", 1))
	for _, subject := range []string{"Order 1815", "Order 1906", "Invoice 42", "Re: Order 1815"} {
		f.note(subject)
	}
	require.NoError(t, f.receivers.WaitForPath(t.Context(), "/warehouse", 5))
	require.NoError(t, f.receivers.WaitForPath(t.Context(), "/orders", 5))
	for name, l := range map[string]look{"light": {}, "dark": {dark: true}} {
		b := newTab(t, f.sys.API, l)
		b.signIn(f.Key)
		for page, path := range map[string]string{"overview": "/", "event": "/events/" + event, "webhook": "/webhooks/" + broken} {
			b.open(consolePath + path)
			b.until("the page", `document.querySelector("main h1")`)
			require.NoError(t, os.WriteFile(filepath.Join("../../docs/pictures", page+"-"+name+".png"), b.picture(), 0o644))
		}
	}
}

// picture is a PNG of what the tab shows.
func (b *tab) picture() []byte {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	shot, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	require.NoError(b.t, err)
	return shot
}
