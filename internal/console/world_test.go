package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// world is a server with API and console on a real database.
type world struct {
	t       *testing.T
	pool    *pgxpool.Pool
	url     string
	api     http.Handler
	console http.Handler
	// operatorKey, tenantKey and tenantID are made by start.
	operatorKey, tenantKey, tenantID string
}

func start(t *testing.T, change ...func(*console.Options)) *world {
	t.Helper()
	w := &world{t: t, pool: pgtest.Pool(t)}
	var err error
	w.api, err = api.NewHandler(api.Options{Pool: w.pool})
	require.NoError(t, err)
	o := console.Options{API: w.api, Pool: w.pool}
	for _, f := range change {
		f(&o)
	}
	w.console, err = console.New(o)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/", w.api)
	mux.Handle(console.Base+"/", w.console)
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	w.operatorKey, err = tenancy.BootstrapOperatorKey(context.Background(), w.pool)
	require.NoError(t, err)
	w.tenantID, w.tenantKey = w.tenant("acme")
	return w
}

// tenant makes a tenant with a key that has all scopes. The first tenant of a world has every domain.
func (w *world) tenant(name string) (id, key string) {
	w.t.Helper()
	var made struct{ ID, Secret string }
	w.call(w.operatorKey, "POST", "/v1/tenants", map[string]any{"name": name}, &made)
	id = made.ID
	w.call(w.operatorKey, "POST", "/v1/keys", map[string]any{"tenant_id": id, "name": "laptop"}, &made)
	var tenant events.TenantID
	require.NoError(w.t, tenant.UnmarshalText([]byte(id)))
	err := pgx.BeginFunc(context.Background(), w.pool, func(tx pgx.Tx) error {
		_, err := mailbox.GiveDomain(context.Background(), tx, tenant, mailbox.EveryDomain)
		return err
	})
	if !errors.Is(err, mailbox.ErrDomainTaken) {
		require.NoError(w.t, err)
	}
	return id, made.Secret
}

// call calls the API with a key. The answer must be 2xx.
func (w *world) call(key, method, path string, in, out any) {
	w.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		require.NoError(w.t, err)
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(context.Background(), method, w.url+path, body)
	require.NoError(w.t, err)
	r.Header.Set("Authorization", "Bearer "+key)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	require.Less(w.t, resp.StatusCode, 300, "%s %s: %s", method, path, b)
	if out != nil && len(b) > 0 {
		require.NoError(w.t, json.Unmarshal(b, out))
	}
}

// browser keeps cookies, and follows no redirect.
type browser struct {
	w      *world
	client *http.Client
	last   *document // the source of CSRF tokens
}

// document is an answer.
type document struct {
	t      *testing.T
	status int
	header http.Header
	text   string
	root   *html.Node
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(w.t, err)
	return &browser{w: w, client: &http.Client{
		Jar: jar, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// signedIn is a browser that has signed in with a key.
func (w *world) signedIn(key string) *browser {
	w.t.Helper()
	b := w.browser()
	b.post("/sign-in", url.Values{"key": {key}}).want(http.StatusSeeOther)
	return b
}

// get opens a path below the base.
func (b *browser) get(path string) *document {
	b.w.t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, b.w.url+console.Base+path, nil)
	require.NoError(b.w.t, err)
	return b.do(r)
}

// post sends a form with the CSRF token of the last page that was opened.
func (b *browser) post(path string, form url.Values) *document {
	b.w.t.Helper()
	if b.last != nil && !form.Has("csrf") {
		if token := b.last.find("input[name=csrf]"); token != nil {
			form.Set("csrf", attribute(token, "value"))
		}
	}
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, b.w.url+console.Base+path, strings.NewReader(form.Encode()))
	require.NoError(b.w.t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", b.w.url)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return b.do(r)
}

func (b *browser) do(r *http.Request) *document {
	b.w.t.Helper()
	resp, err := b.client.Do(r)
	require.NoError(b.w.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b.w.t, err)
	root, err := html.Parse(bytes.NewReader(text))
	require.NoError(b.w.t, err)
	d := &document{t: b.w.t, status: resp.StatusCode, header: resp.Header, text: string(text), root: root}
	if r.Method == http.MethodGet && d.find("input[name=csrf]") != nil {
		b.last = d
	}
	return d
}

// want checks the status.
func (d *document) want(status int) *document {
	d.t.Helper()
	require.Equal(d.t, status, d.status, "%s %s", d.header.Get("Location"), d.text)
	return d
}

// find returns the first element that matches tag, tag.class or tag[name=value]; nil for none.
func (d *document) find(selector string) *html.Node {
	all := d.all(selector)
	if len(all) == 0 {
		return nil
	}
	return all[0]
}

// all returns all elements that match.
func (d *document) all(selector string) (found []*html.Node) {
	tag, key, value := selector, "", ""
	if t, rest, ok := strings.Cut(selector, "["); ok {
		tag = t
		key, value, _ = strings.Cut(strings.TrimSuffix(rest, "]"), "=")
	} else if t, class, ok := strings.Cut(selector, "."); ok {
		tag, key, value = t, "class", class
	}
	for n := range d.root.Descendants() {
		if n.Type != html.ElementNode || tag != "" && n.Data != tag {
			continue
		}
		have := attribute(n, key)
		if key == "" || have == value || key == "class" && strings.Contains(" "+have+" ", " "+value+" ") {
			found = append(found, n)
		}
	}
	return found
}

// attribute is the value of an attribute; empty for none.
func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// words is the text of an element, with single spaces.
func words(n *html.Node) string {
	if n == nil {
		return ""
	}
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// cookie is the token of the browser's session.
func (b *browser) cookie() string {
	b.w.t.Helper()
	at, err := url.Parse(b.w.url)
	require.NoError(b.w.t, err)
	for _, c := range b.client.Jar.Cookies(at) {
		if c.Name == sessionCookie {
			return c.Value
		}
	}
	return ""
}

func (b *browser) setCookie(token string) {
	b.w.t.Helper()
	at, err := url.Parse(b.w.url)
	require.NoError(b.w.t, err)
	b.client.Jar.SetCookies(at, []*http.Cookie{{Name: sessionCookie, Value: token, Path: "/"}})
}

// sessionCookie is the name of the session's cookie on this machine.
const sessionCookie = "fanmail_console"

// withCookie opens a path with a session's token.
func (w *world) withCookie(token, path string) *document {
	w.t.Helper()
	b := w.browser()
	b.setCookie(token)
	return b.get(path)
}
