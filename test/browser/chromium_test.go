package browser_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// patience is how long a tab waits for what a page should show. It only matters on failure, and is long because machines
// that test are busy.
const patience = time.Minute

// chromium starts the one browser that all tests share. Its end is TestMain's.
var chromium = sync.OnceValues(func() (context.Context, error) {
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		// Frames of other origins and sandboxed frames stay in their page's process, so that the recorder sees their
		// faults too. TestTheRecorderSeesFrames would fail otherwise.
		chromedp.Flag("disable-features", "Translate,BlinkGenPropertyTrees,IsolateOrigins,SitePerProcess,IsolateSandboxedIframes"),
		chromedp.Flag("disable-site-isolation-trials", true),
		chromedp.WSURLReadTimeout(patience),
	)
	// Debian's headless shell is the same Chromium without windows, profiles and their services. It takes half the processor
	// time of the whole browser.
	if shell, err := exec.LookPath("chromium-headless-shell"); err == nil {
		options = append(options, chromedp.ExecPath(shell))
	}
	if os.Geteuid() == 0 { // Chromium refuses to start its sandbox as root
		options = append(options, chromedp.NoSandbox)
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, closeBrowser := chromedp.NewContext(allocator)
	atEnd(func() {
		closeBrowser()
		stop()
	})
	if err := chromedp.Do(ctx); err != nil {
		return nil, fmt.Errorf("start Chromium (scripts/chromium.sh installs it): %w", err)
	}
	return ctx, nil
})

// look is how a tab shows pages. The zero value is light, wide and runs scripts.
type look struct {
	dark, narrow, noScript bool
	// moving: the reader has not asked for less motion, as the others have.
	moving bool
}

func (l look) String() string {
	var words []string
	for _, w := range []struct {
		is      bool
		yes, no string
	}{{l.dark, "dark", "light"}, {l.narrow, "360px", "wide"}, {l.noScript, "no-script", ""}} {
		if w.is {
			words = append(words, w.yes)
		} else if w.no != "" {
			words = append(words, w.no)
		}
	}
	return strings.Join(words, "-")
}

// The sizes of a wide and a narrow tab, in CSS pixels.
const (
	wideWidth, wideHeight     = 1280, 860
	narrowWidth, narrowHeight = 360, 740
)

// opposite has the other colours and the other width. Colours do not depend on the width, nor boxes on the colours, so that
// a page that reads in a look and in its opposite reads in all four.
func (l look) opposite() look {
	l.dark, l.narrow = !l.dark, !l.narrow
	return l
}

// tab is a page of a browser context of its own: it shares no cookie with other tabs.
type tab struct {
	t    testing.TB
	ctx  context.Context
	base string // the origin of the console, without a path
	look look
	rec  *recorder
}

// newTab opens a tab for the pages of base. At the end of the test it fails the test for each fault that the recorder
// saw.
func newTab(t testing.TB, base string, l look) *tab {
	t.Helper()
	browser, err := chromium()
	require.NoError(t, err)
	rec := &recorder{origins: map[string]bool{base: true}}
	ctx, closeTab := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(rec.see))
	b := &tab{t: t, ctx: ctx, base: base, look: l, rec: rec}
	t.Cleanup(func() {
		if t.Failed() {
			b.describe()
		}
		closeTab()
		for _, f := range rec.faults() {
			t.Errorf("the browser saw: %s", f)
		}
	})
	require.NoError(t, chromedp.Do(ctx, b.settings()))
	return b
}

func (b *tab) settings() chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		if _, err := chromedp.Call(ctx, audits.Enable, cdp.Empty{}); err != nil {
			return err
		}
		if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
			return err
		}
		if _, err := chromedp.Call(ctx, log.Enable, cdp.Empty{}); err != nil {
			return err
		}
		// Without this a dialog would block its page, and the test until its patience ends.
		if err := chromedp.Listen(ctx, func(ev any) {
			if _, ok := ev.(*page.EventJavascriptDialogOpening); ok {
				go func() {
					_, _ = chromedp.Call(ctx, page.HandleJavaScriptDialog, page.HandleJavaScriptDialogParams{Accept: false})
				}()
			}
		}); err != nil {
			return err
		}
		return b.appear(ctx)
	})
}

// size is the width and height of the tab, in CSS pixels.
func (l look) size() (width, height int64) {
	if l.narrow {
		return narrowWidth, narrowHeight
	}
	return wideWidth, wideHeight
}

// scheme is the colour scheme that the reader prefers.
func (l look) scheme() string {
	if l.dark {
		return "dark"
	}
	return "light"
}

// appear sets what the pages of the tab learn about their reader: the size, the colour scheme, whether scripts run.
func (b *tab) appear(ctx context.Context) error {
	motion := "reduce"
	if b.look.moving {
		motion = "no-preference"
	}
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(b.look.size())); err != nil {
		return err
	}
	media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: b.look.scheme()},
		{Name: "prefers-reduced-motion", Value: motion},
	}}
	if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, media); err != nil {
		return err
	}
	_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: b.look.noScript})
	return err
}

// wear gives the open page another size and colour scheme, and waits until the page knows them.
func (b *tab) wear(l look) {
	b.t.Helper()
	if b.look == l {
		return
	}
	b.look = l
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	require.NoError(b.t, b.appear(ctx), "show the page %s", l)
	width, height := l.size()
	b.until("its new size and colours", fmt.Sprintf(`innerWidth === %d && innerHeight === %d && matchMedia("(prefers-color-scheme: %s)").matches`, width, height, l.scheme()))
}

// describe logs what the tab shows.
func (b *tab) describe() {
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		b.t.Logf("the tab can't be read: %v", err)
		return
	}
	b.t.Logf("the tab shows %.3000s", text)
}
