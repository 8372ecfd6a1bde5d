package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/console"
)

// TestNoTokenReachesTheLog from a page that panics or fails: neither that of a portal link nor one of a query.
func TestNoTokenReachesTheLog(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	var fails atomic.Value
	fails.Store(func(*http.Request) {})
	w := start(t, func(o *console.Options) {
		o.Log = zap.New(core)
		own := o.API
		o.API = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			fails.Load().(func(*http.Request))(r)
			own.ServeHTTP(rw, r)
		})
	})
	path, _, hook, _, _ := w.portal(nil)
	token := strings.TrimPrefix(path, "/portal/")
	var link console.Link
	require.Equal(t, http.StatusCreated, w.link(w.tenantKey, &link))
	_, linkToken, _ := strings.Cut(link.Path, "link=")
	tenant := w.signedIn(w.tenantKey)
	for at, ask := range map[string]func(){
		path:      func() { w.browser().get(path + "/webhooks/" + hook) },
		linkToken: func() { tenant.get("/events?link=" + linkToken + "&code=" + linkToken) },
	} {
		fails.Store(func(*http.Request) { panic("a fault at " + at) })
		ask()
		fails.Store(func(r *http.Request) { panic(fmt.Errorf("a fault of %s at %s", r.Method, at)) })
		ask()
		fails.Store(func(*http.Request) {})
	}
	// The database is away.
	exec(t, w, `ALTER TABLE fanmail.portal_links RENAME TO away`)
	exec(t, w, `ALTER TABLE fanmail.console_links RENAME TO gone`)
	w.browser().get(path + "/").want(http.StatusInternalServerError)
	w.browser().get(strings.TrimPrefix(link.Path, console.Base)).want(http.StatusInternalServerError)

	require.GreaterOrEqual(t, len(logs.FilterMessage("a page panicked").All()), 4)
	require.GreaterOrEqual(t, len(logs.FilterMessage("a page failed").All()), 2)
	for _, entry := range logs.All() {
		text, err := zapcore.NewJSONEncoder(zapcore.EncoderConfig{}).EncodeEntry(entry.Entry, entry.Context)
		require.NoError(t, err)
		for _, secret := range []string{token, linkToken, w.tenantKey, tenant.cookie()} {
			require.NotContains(t, text.String()+entry.Stack, secret)
		}
	}
}

// TestSignInsAndLivePagesAreCounted by kind and result.
func TestSignInsAndLivePagesAreCounted(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewPedanticRegistry()
	w := start(t, func(o *console.Options) { o.Registerer = reg })
	b := w.signedIn(w.tenantKey)
	var link console.Link
	require.Equal(t, http.StatusCreated, w.link(w.tenantKey, &link))
	require.Equal(t, http.StatusUnauthorized, w.link("fm_wrong", nil))
	_, token, _ := strings.Cut(link.Path, "link=")
	w.browser().post("/sign-in", url.Values{"link": {token}}).want(http.StatusSeeOther)
	w.browser().post("/sign-in", url.Values{"link": {token}}).want(http.StatusUnauthorized)
	for range 9 {
		w.browser().post("/sign-in", url.Values{"key": {"fm_wrong"}}).want(http.StatusUnauthorized)
	}
	w.browser().post("/sign-in", url.Values{"key": {w.tenantKey}}).want(http.StatusTooManyRequests)
	_, events := b.watch("/console/")
	require.True(t, await(t, events, "event: live"))
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP fanmail_console_live_streams Live pages of the console that are open.
# TYPE fanmail_console_live_streams gauge
fanmail_console_live_streams 1
# HELP fanmail_console_sign_ins_total Sign-ins to the console that were tried, by kind (key, link, openid; new_link asks for a link) and result (ok, refused, limited, unavailable).
# TYPE fanmail_console_sign_ins_total counter
fanmail_console_sign_ins_total{kind="key",result="limited"} 1
fanmail_console_sign_ins_total{kind="key",result="ok"} 1
fanmail_console_sign_ins_total{kind="key",result="refused"} 9
fanmail_console_sign_ins_total{kind="key",result="unavailable"} 0
fanmail_console_sign_ins_total{kind="link",result="limited"} 0
fanmail_console_sign_ins_total{kind="link",result="ok"} 1
fanmail_console_sign_ins_total{kind="link",result="refused"} 1
fanmail_console_sign_ins_total{kind="link",result="unavailable"} 0
fanmail_console_sign_ins_total{kind="new_link",result="limited"} 0
fanmail_console_sign_ins_total{kind="new_link",result="ok"} 1
fanmail_console_sign_ins_total{kind="new_link",result="refused"} 1
fanmail_console_sign_ins_total{kind="new_link",result="unavailable"} 0
fanmail_console_sign_ins_total{kind="openid",result="limited"} 0
fanmail_console_sign_ins_total{kind="openid",result="ok"} 0
fanmail_console_sign_ins_total{kind="openid",result="refused"} 0
fanmail_console_sign_ins_total{kind="openid",result="unavailable"} 0
`), "fanmail_console_live_streams", "fanmail_console_sign_ins_total"))
	b.get("/")
	b.post("/sign-out", url.Values{}).want(http.StatusSeeOther)
	require.True(t, await(t, events, "event: end"))
	ended(t, events)
}
