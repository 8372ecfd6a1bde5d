package console

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// call is one request for a page.
type call struct {
	s *server
	w http.ResponseWriter
	r *http.Request
	// base is what paths of this door begin with.
	base string
	// session is nil for pages that need none, and in a portal.
	session *session
	// who is the principal that the API is called as.
	who tenancy.Principal
	// secret is what CSRF tokens and flashes are derived from; empty without a session.
	secret string
	// status is the status of the page; 0: 200.
	status int
	// block is the part of the page that was asked for; empty: all of it.
	block string
}

// list is one page of a list of the API.
type list[T any] struct {
	Data       []T     `json:"data"`
	NextCursor *string `json:"next_cursor"`
}

// maxAnswer bounds the bytes of an answer of the API.
const maxAnswer = 64 << 20

// recorder is an answer of the API, or a part of a page, in memory.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
	most   int  // bytes of the body; 0: maxAnswer
	over   bool // the body would have had more
}

// Header returns the header.
func (r *recorder) Header() http.Header { return r.header }

// WriteHeader keeps the first status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
}

// Write keeps the bytes, up to a limit.
func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	if most := cmp.Or(r.most, maxAnswer); r.body.Len()+len(b) > most {
		r.over = true
		return 0, fmt.Errorf("the answer has more than %d bytes", most)
	}
	return r.body.Write(b)
}

// request makes a request to the API in process.
func (c *call) request(ctx context.Context, method, path string, query url.Values, in any) (*http.Request, error) {
	var body io.Reader = http.NoBody
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode a request to the API: %w", err)
		}
		body = bytes.NewReader(b)
	}
	if method == http.MethodGet && c.who.Operator() && c.session != nil && !c.session.viewed.IsZero() && !query.Has("tenant_id") && !ofAll(path) {
		more := url.Values{"tenant_id": {c.session.viewed.String()}}
		for k, v := range query {
			more[k] = v
		}
		query = more
	}
	target := path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	who := c.who
	who.Address = c.s.address(c.r)
	r, err := http.NewRequestWithContext(api.As(ctx, who), method, target, body)
	if err != nil {
		return nil, fmt.Errorf("call the API: %w", err)
	}
	r.RemoteAddr, r.Host = c.r.RemoteAddr, c.r.Host
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", c.r.UserAgent())
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	return r, nil
}

// problem is what an answer says that is no success.
func (r *recorder) problem() *apiclient.Problem {
	problem := &apiclient.Problem{}
	if json.Unmarshal(r.body.Bytes(), problem) != nil || problem.Title+problem.Detail == "" {
		problem.Title = http.StatusText(r.status)
	}
	problem.Status = r.status
	return problem
}

// do calls the API in process.
func (c *call) do(ctx context.Context, method, path string, query url.Values, in any) (*recorder, error) {
	r, err := c.request(ctx, method, path, query, in)
	if err != nil {
		return nil, err
	}
	out := &recorder{header: http.Header{}}
	c.s.api.ServeHTTP(out, r)
	if out.status < 200 || out.status > 299 {
		return nil, out.problem()
	}
	return out, nil
}

// ofAll says that a path of the API is about all tenants, also while the operator looks at one.
func ofAll(path string) bool {
	return strings.HasPrefix(path, "/v1/operator/") || path == "/v1/tenants" || strings.HasPrefix(path, "/v1/tenants/")
}

// get reads a path of the API, such as /v1/webhooks, into out. An error response is an
// [*apiclient.Problem]. query may be nil.
func (c *call) get(path string, query url.Values, out any) error {
	answer, err := c.do(c.r.Context(), http.MethodGet, path, query, nil)
	if err != nil {
		return err
	}
	return decode(path, answer, out)
}

// maxTogether is how many reads one page makes at the same time: each takes a connection to the database.
const maxTogether = 3

// together makes reads of the API at the same time and returns the first error. Each writes to values of its own.
func together(reads ...func() error) error {
	var all errgroup.Group
	all.SetLimit(maxTogether)
	for _, read := range reads {
		all.Go(read)
	}
	return all.Wait()
}

// send changes something by the API. in is the JSON body, nil for none; out takes the
// answer and may be nil.
func (c *call) send(method, path string, in, out any) error {
	answer, err := c.do(c.r.Context(), method, path, nil, in)
	if err != nil {
		return err
	}
	return decode(path, answer, out)
}

func decode(path string, answer *recorder, out any) error {
	if out == nil || answer.body.Len() == 0 {
		return nil
	}
	if err := json.Unmarshal(answer.body.Bytes(), out); err != nil {
		return fmt.Errorf("decode the API's answer for %s: %w", path, err)
	}
	return nil
}

// faults returns the messages of a refused form by the location of the field, such as
// "body.url". The rest of the error is under "". The map is nil for an error that is not
// about the request: return that error from the handler.
func faults(err error) map[string]string {
	var p *apiclient.Problem
	if !errors.As(err, &p) || p.Status == http.StatusUnauthorized || p.Status >= 500 {
		return nil
	}
	out := map[string]string{}
	for _, e := range p.Errors {
		if e.Location != "" && out[e.Location] == "" {
			out[e.Location] = e.Message
		}
	}
	if len(out) == 0 {
		out[""] = p.Detail
	}
	return out
}

// id is a parameter of the path.
func (c *call) id(name string) string { return c.r.PathValue(name) }

// query is the request's query.
func (c *call) query() url.Values { return c.r.URL.Query() }

// form is the posted form. The door has parsed it.
func (c *call) form() url.Values { return c.r.PostForm }

// pick copies some parameters of the request's query, without empty ones, for a list of
// the API.
func (c *call) pick(names ...string) url.Values {
	out := url.Values{}
	from := c.query()
	for _, n := range slices.Concat(names, []string{"cursor"}) { // names may be a part of somebody's longer list
		if v := from.Get(n); v != "" {
			out.Set(n, v)
		}
	}
	return out
}

// The functions of templates, see scope.

func (c *call) path(pattern string, parts ...any) string { return join(c.base, pattern, parts) }

func (c *call) asset(name string) string { return Base + c.s.assets.paths[name] }

func (c *call) token() string {
	if c.secret == "" {
		return ""
	}
	return derive(c.secret, "csrf", "")
}

func (c *call) may(role tenancy.Role) bool {
	return c.who.May(role.Rights()) && (!c.who.Operator() || c.session == nil || c.session.viewed.IsZero())
}

func (c *call) operator() bool { return c.who.Operator() }

// inner is the request's path after the base, escaped as it came: it is for links.
func (c *call) inner() string { return strings.TrimPrefix(c.r.URL.EscapedPath(), Base) }

// at is the request's path after the base as the routes compare it, however it was escaped.
func (c *call) at() string { return strings.TrimPrefix(c.r.URL.Path, Base) }

func (c *call) here() string {
	at := c.base + c.inner()
	if q := c.query(); len(q) > 0 {
		q.Del("fragment")
		q.Del("flash")
		if len(q) > 0 {
			at += "?" + q.Encode()
		}
	}
	return at
}

func (c *call) nextPage(cursor any) string {
	next := fmt.Sprint(indirect(cursor))
	if next == "" {
		return ""
	}
	q := c.query()
	q.Del("fragment")
	q.Del("flash")
	q.Set("cursor", next)
	return c.base + c.inner() + "?" + q.Encode()
}

// flash is a message that the page after a redirect shows. It travels in the query, with a
// code that only this session can make: portals have no cookies, and replicas share no memory.
func (c *call) flash() string {
	code, text, _ := strings.Cut(c.query().Get("flash"), ".")
	if text == "" || c.secret == "" || code != derive(c.secret, "flash", text)[:16] {
		return ""
	}
	return text
}

// redirect sends the browser to another page with GET, where text is shown once. path
// begins after the base and may have a query. text must hold no secret.
func (c *call) redirect(path, text string) error {
	to := c.base + path
	if text != "" {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		to += sep + "flash=" + url.QueryEscape(derive(c.secret, "flash", text)[:16]+"."+text)
	}
	if c.r.Header.Get("HX-Request") != "" {
		c.w.Header().Set("HX-Redirect", to)
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	http.Redirect(c.w, c.r, to, http.StatusSeeOther)
	return nil
}

// frame is what the layout shows around a page.
type frame struct {
	// Page is the page's name.
	Page   string
	Data   any
	Flash  string
	Name   string // who is signed in; "" for nobody
	Viewed string // the tenant that an operator looks at
	Portal bool
	Door   string // "tenant", "operator" or "" for nobody
}

// page renders pages/<name>.html within the layout, or the block of it that was asked for.
func (c *call) page(name string, data any) error {
	p, ok := c.s.pages[name]
	if !ok {
		return fmt.Errorf("render a page: there is no page %q", name)
	}
	block, dot := "layout", any(frame{Page: name, Data: data, Flash: c.flash()})
	if c.block != "" {
		if !p.blocks[c.block] {
			return &apiclient.Problem{Status: http.StatusNotFound, Title: "Not Found", Detail: "this page has no such part"}
		}
		block, dot = c.block, data
	} else if c.session != nil {
		f := dot.(frame)
		f.Name, f.Door = c.session.name, "tenant"
		if c.who.Operator() {
			f.Door = "operator"
			if !c.session.viewed.IsZero() {
				f.Viewed = c.session.viewed.String()
			}
		}
		dot = f
	} else if c.base != Base {
		f := dot.(frame)
		f.Portal = true
		dot = f
	}
	text, err := p.render(c, block, dot)
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if c.status != 0 {
		c.w.WriteHeader(c.status)
	}
	_, _ = c.w.Write(text)
	return nil
}
