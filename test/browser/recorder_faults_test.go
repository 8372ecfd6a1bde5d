package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stranger serves one page on an origin of its own.
func stranger(t testing.TB, policy, html string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if policy != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprint(w, "<!doctype html><html lang=en><title>A page</title><main><h1>A page</h1>", html, "</main></html>")
	}))
	t.Cleanup(s.Close)
	return s
}

// proof is a test that a tab must fail without failing the test that looks.
type proof struct {
	testing.TB
	cleanups []func()
	failed   []string
}

func (p *proof) Cleanup(f func())             { p.cleanups = append(p.cleanups, f) }
func (p *proof) Errorf(f string, args ...any) { p.failed = append(p.failed, fmt.Sprintf(f, args...)) }
func (p *proof) Failed() bool                 { return false }

func (p *proof) end() {
	for _, f := range p.cleanups {
		f()
	}
}

// TestTheRecorderSees proves each kind of fault that fails a test: what is not seen here could not be seen on a page of
// the console either.
func TestTheRecorderSees(t *testing.T) {
	t.Parallel()
	elsewhere := stranger(t, "", "elsewhere")
	for name, c := range map[string]struct{ policy, html, want string }{
		"nothing":                  {"", `<p>Nothing.</p>`, ""},
		"an exception":             {"", `<script>throw new Error("thrown")</script>`, "thrown"},
		"a rejected promise":       {"", `<script>Promise.reject(new Error("rejected"))</script>`, "rejected"},
		"an error on the console":  {"", `<script>console.error("said")</script>`, "said"},
		"a dialog":                 {"", `<script>alert("opened")</script>`, "dialog: opened"},
		"an inline script refused": {"script-src 'none'", `<script>alert("opened")</script>`, "Content-Security-Policy"},
		"an inline style refused":  {"style-src 'none'", `<p style="color: red">Red.</p>`, "Content-Security-Policy"},
		"an image of elsewhere":    {"", `<img alt="" src="` + elsewhere.URL + `/i.png">`, "another origin: " + elsewhere.URL + "/i.png"},
		"an image refused":         {"img-src 'none'", `<img alt="" src="` + elsewhere.URL + `/i.png">`, "Content-Security-Policy"},
		"a fetch of elsewhere":     {"", `<script>fetch("` + elsewhere.URL + `/f", {mode: "no-cors"})</script>`, "another origin: " + elsewhere.URL + "/f"},
		"a frame of elsewhere":     {"", `<iframe title="f" src="` + elsewhere.URL + `/frame"></iframe>`, "another origin: " + elsewhere.URL + "/frame"},
		"a resource that is not there": {
			"", `<script>fetch("http://127.0.0.1:1/")</script>`, "Failed to load resource",
		},
		"a sandboxed frame that loads": {
			"", `<iframe title="f" sandbox srcdoc="<img src='` + elsewhere.URL + `/inner.png'>"></iframe>`, "another origin: " + elsewhere.URL + "/inner.png",
		},
		"a script refused in a sandboxed frame": {
			"", `<iframe title="f" sandbox srcdoc="<script>alert(1)</script>"></iframe>`, "Blocked script execution",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page := stranger(t, c.policy, c.html)
			p := &proof{TB: t}
			defer p.end()
			b := newTab(p, page.URL, look{})
			b.open("/")
			if c.want == "" {
				require.Empty(t, b.rec.faults())
				return
			}
			require.Eventually(t, func() bool {
				for _, f := range b.rec.faults() {
					if strings.Contains(f, c.want) {
						return true
					}
				}
				return false
			}, patience, 10*time.Millisecond, "want %q", c.want)
			p.end()
			require.NotEmpty(t, p.failed, "the fault must fail the test")
		})
	}
}

func TestAxeSees(t *testing.T) {
	t.Parallel()
	page := stranger(t, "", `<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><p style="color: #ccc">Pale.</p><input>`)
	p := &proof{TB: t}
	defer p.end()
	b := newTab(p, page.URL, look{})
	b.open("/")
	b.accessible()
	require.Len(t, p.failed, 3, "an image without a text, pale text, an input without a label")
}

// TestAPageIsReadInEachLook has faults that only one width or colour scheme shows, which reads must find from a wide, light
// tab.
func TestAPageIsReadInEachLook(t *testing.T) {
	t.Parallel()
	for style, want := range map[string]string{
		"p { color: #111 }": "",
		"@media (prefers-color-scheme: dark) { p { color: #ccc } }":       "color-contrast dark-360px",
		"@media (prefers-color-scheme: light) { p { color: #ccc } }":      "color-contrast light-wide",
		"@media (max-width: 400px) { p { width: 500px } }":                "sideways dark-360px",
		"@media (min-width: 1000px) { p { width: 1500px } }":              "sideways light-wide",
		"@media (max-width: 400px) { p { width: 20px } }":                 "leave dark-360px",
		"@media (max-width: 400px) { p { overflow: auto; height: 1px } }": "scrollable-region-focusable dark-360px",
	} {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			page := stranger(t, "", "<style>"+style+"</style><p>A text.</p>")
			p := &proof{TB: t}
			defer p.end()
			b := newTab(p, page.URL, look{})
			b.open("/")
			b.reads("/")
			require.Equal(t, look{}, b.look, "the page looks as before")
			if want == "" {
				require.Empty(t, p.failed)
				return
			}
			require.Len(t, p.failed, 1)
			rule, l, _ := strings.Cut(want, " ")
			require.Contains(t, p.failed[0], rule)
			require.Contains(t, p.failed[0], "("+l+")")
		})
	}
}

func TestATabThatIsTooNarrowIsSeen(t *testing.T) {
	t.Parallel()
	page := stranger(t, "", `<p style="width: 500px">Wide.</p>`)
	b := newTab(t, page.URL, look{narrow: true, dark: true})
	b.open("/")
	require.True(t, eval[bool](b, `document.documentElement.scrollWidth > document.documentElement.clientWidth`))
	require.True(t, eval[bool](b, `matchMedia("(prefers-color-scheme: dark)").matches`))
	quiet := newTab(t, page.URL, look{noScript: true})
	quiet.open("/")
	require.Equal(t, "A page Wide.", quiet.text())
}
