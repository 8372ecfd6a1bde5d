package console

import (
	"context"
	"crypto/hmac"
	"errors"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// handler answers one request. An error becomes a page with the API's own words.
type handler func(c *call) error

const (
	// maxForm bounds the bytes of a form, and formTimeout the time to send one.
	maxForm     = 2 << 20
	formTimeout = 10 * time.Second
)

// policy is the Content-Security-Policy of pages, without frame-ancestors.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors "

// secure sets the headers that every response of the console has.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", policy+"'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	// no-referrer would also remove the Origin of posted forms.
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Cache-Control", "no-store")
}

// door is how a request came in without a session: by a portal link.
type door struct {
	base   string
	secret string
	who    tenancy.Principal
	portal *tenancy.Portal
}

type doorKey struct{}

func withDoor(ctx context.Context, d door) context.Context {
	return context.WithValue(ctx, doorKey{}, d)
}

// get, watch, post and open register a handler for a path below the base. Parameters are those
// of [http.ServeMux].

func (s *server) get(pattern string, h handler) { s.route(http.MethodGet, pattern, h, true) }

// watch registers a page that has a live part: the template live of its file.
func (s *server) watch(pattern string, h handler) {
	s.watched[http.MethodGet+" "+Base+pattern] = true
	s.get(pattern, h)
}

// post registers a handler of a form. Its CSRF token has been checked.
func (s *server) post(pattern string, h handler) { s.route(http.MethodPost, pattern, h, true) }

// open registers a page that needs no session.
func (s *server) open(method, pattern string, h handler) { s.route(method, pattern, h, false) }

func (s *server) route(method, pattern string, h handler, signedIn bool) {
	s.routes = append(s.routes, method+" "+pattern)
	s.mux.HandleFunc(method+" "+Base+pattern, func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, h, signedIn) //nolint:contextcheck // the request brings it
	})
}

// serve finds the session of a request, checks that a form is the session's own, and calls
// the handler.
func (s *server) serve(w http.ResponseWriter, r *http.Request, h handler, signedIn bool) {
	c := &call{s: s, w: w, r: r, base: Base, block: r.URL.Query().Get("fragment")}
	var err error
	if r.Method == http.MethodPost && s.origin.Check(r) != nil {
		err = refused(http.StatusForbidden, "The form was sent by another site. Open the console itself and try again.")
	}
	if err == nil {
		err = c.enter(signedIn)
	}
	if err == nil && r.Method == http.MethodPost {
		err = c.readForm(signedIn)
	}
	if err == nil {
		err = c.admit(signedIn)
	}
	if err == nil {
		err = h(c)
	}
	if err != nil {
		c.fail(err)
	}
}

// enter sets the principal of a call from the portal's door or from the session's cookie.
func (c *call) enter(signedIn bool) error {
	if d, ok := c.r.Context().Value(doorKey{}).(door); ok {
		c.base, c.secret, c.who = d.base, d.secret, d.who
		return nil
	}
	token := sessionToken(c.r)
	if token == "" {
		if signedIn {
			return errNoSession
		}
		return nil
	}
	found, err := c.s.sessions.load(c.r.Context(), token)
	if errors.Is(err, errNoSession) && !signedIn {
		return nil
	}
	if err != nil {
		return err
	}
	c.session, c.who, c.secret = found, found.who, token
	return nil
}

// errDone says that the response is written.
var errDone = errors.New("the response is written")

// admit keeps tenants from operators' pages, and leads an operator who has chosen no tenant
// away from tenants' pages.
func (c *call) admit(signedIn bool) error {
	if !signedIn || c.session == nil {
		return nil
	}
	operators := strings.HasPrefix(c.at(), "/operator")
	switch {
	case operators && !c.who.Operator():
		return &apiclient.Problem{Status: http.StatusForbidden, Title: "Forbidden", Detail: "This page is for operators."}
	case !operators && c.who.Operator() && c.session.viewed.IsZero() && !forBoth(c.at()):
		to := "/operator/tenants"
		if c.at() == "/" {
			to = "/operator"
		}
		if err := c.redirect(to, ""); err != nil {
			return err
		}
		return errDone
	}
	return nil
}

// forBoth reports whether a page is for tenants and for operators who have chosen none.
func forBoth(at string) bool {
	return at == "/sign-out" || at == "/live" || at == "/event-types" || strings.HasPrefix(at, "/event-types/")
}

func refused(status int, words string) error {
	return &apiclient.Problem{Status: status, Title: http.StatusText(status), Detail: words}
}

// readForm reads a posted form and checks that it is the session's own.
func (c *call) readForm(signedIn bool) error {
	control := http.NewResponseController(c.w)
	_ = control.SetReadDeadline(time.Now().Add(formTimeout))
	c.r.Body = http.MaxBytesReader(c.w, c.r.Body, maxForm)
	parse := c.r.ParseForm
	if kind, _, _ := mime.ParseMediaType(c.r.Header.Get("Content-Type")); kind == "multipart/form-data" {
		parse = func() error { return c.r.ParseMultipartForm(maxForm) } // all of it fits the memory
	}
	if err := parse(); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return refused(http.StatusRequestEntityTooLarge, "The form has more than 2 MiB.")
		}
		return refused(http.StatusBadRequest, "The form can't be read.")
	}
	_ = control.SetReadDeadline(time.Time{})
	if !signedIn {
		return nil
	}
	token := c.r.Header.Get("X-CSRF-Token")
	if token == "" {
		token = c.r.PostForm.Get("csrf")
	}
	if !hmac.Equal([]byte(token), []byte(c.token())) {
		return refused(http.StatusForbidden, "The form is not of this session. Reload the page and try again.")
	}
	return nil
}

// fail answers a call whose handler has returned an error.
func (c *call) fail(err error) {
	if errors.Is(err, errDone) {
		return
	}
	var p *apiclient.Problem
	switch {
	case errors.Is(err, errNoSession), errors.As(err, &p) && p.Status == http.StatusUnauthorized && c.base == Base:
		c.signInFirst()
		return
	case p != nil:
	case errors.Is(c.r.Context().Err(), context.Canceled):
		return
	default:
		c.s.log.Error("a page failed", loggedPath(c.r), zap.Error(err))
		p = &apiclient.Problem{Status: http.StatusInternalServerError, Title: "Internal error", Detail: "The page could not be made. The log of the server says why."}
	}
	c.status = p.Status
	if c.block != "" {
		http.Error(c.w, p.Detail, p.Status)
		return
	}
	if err := c.page("error", p); err != nil {
		c.s.log.Error("a page failed", loggedPath(c.r), zap.Error(err))
		http.Error(c.w, p.Detail, p.Status)
	}
}

// signInFirst leads to the page to sign in, and from there back.
func (c *call) signInFirst() {
	to := Base + "/sign-in"
	if c.r.Method == http.MethodGet && c.at() != "/" {
		to += "?" + url.Values{"next": {strings.TrimPrefix(c.here(), Base)}}.Encode()
	}
	switch {
	case c.r.Header.Get("HX-Request") != "":
		c.w.Header().Set("HX-Redirect", to)
		c.w.WriteHeader(http.StatusUnauthorized)
	case c.block != "" || c.at() == "/live":
		http.Error(c.w, "the session has ended", http.StatusUnauthorized)
	default:
		http.Redirect(c.w, c.r, to, http.StatusSeeOther)
	}
}

// ownPath returns a path below the base that may follow a sign-in: next, or / for one
// that leads anywhere else.
func ownPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(next, "/") || strings.HasPrefix(next, "//") ||
		strings.ContainsAny(next, "\\\r\n\t") || strings.Contains(u.Path, "/../") || strings.HasSuffix(u.Path, "/..") {
		return "/"
	}
	return next
}

// secureCookie reports whether a cookie must be Secure. It need not for plain HTTP to this
// machine, where some browsers refuse such a cookie. A proxy on this machine may hide that
// the page came by HTTPS: the form's Origin tells.
func secureCookie(r *http.Request) bool {
	return r.TLS != nil || !loopback(r.Host) || strings.HasPrefix(r.Header.Get("Origin"), "https://") ||
		strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https")
}

// loopback reports whether host, with or without a port, is this machine.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// The prefix __Host- makes the browser refuse a cookie that another host of the domain has
// set, and one that came by plain HTTP.
const (
	secureName = "__Host-fanmail_console"
	plainName  = "fanmail_console"
)

// sessionToken is the token in the session's cookie; empty for none.
func sessionToken(r *http.Request) string {
	if cookie, err := r.Cookie(secureName); err == nil {
		return cookie.Value
	}
	if secureCookie(r) {
		return ""
	}
	if cookie, err := r.Cookie(plainName); err == nil {
		return cookie.Value
	}
	return ""
}

// setCookie sets the session's cookie; an empty token removes it.
func setCookie(w http.ResponseWriter, r *http.Request, token string) {
	cookie := &http.Cookie{ //nolint:gosec // Secure except on this machine
		Name: plainName, Value: token, Path: "/", HttpOnly: true, Secure: secureCookie(r), SameSite: http.SameSiteLaxMode,
		MaxAge: int(sessionLife.Seconds()),
	}
	if cookie.Secure {
		cookie.Name = secureName
	}
	if token == "" {
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}
