package console

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// signInPage is the data of pages/sign-in.html.
type signInPage struct {
	Next  string
	Fault string
	// Link is the token of a one-time link, and Name whose link it is.
	Link, Name string
	// OpenID says that an identity provider is set.
	OpenID bool
}

// linkGone is said of a link that can't be used.
const linkGone = "The link is used already, or has expired. Ask for another with fanmail console, or sign in with a key."

func (s *server) signInRoutes() {
	s.open(http.MethodGet, "/sign-in", s.signInForm)
	s.open(http.MethodPost, "/sign-in", s.signIn)
	s.post("/sign-out", s.signOut)
}

func (s *server) signInForm(c *call) error {
	next := ownPath(c.query().Get("next"))
	if link := c.query().Get("link"); link != "" {
		// Programs that open links to look at them must not use one up: the form does.
		key, err := s.sessions.findLink(c.r.Context(), link)
		if errors.Is(err, errNoLink) {
			c.status = http.StatusNotFound
			return c.page("sign-in", signInPage{OpenID: s.openid != nil, Next: next, Fault: linkGone})
		}
		if err != nil {
			return err
		}
		name, err := s.name(c, key)
		if err != nil {
			return err
		}
		return c.page("sign-in", signInPage{OpenID: s.openid != nil, Next: next, Link: link, Name: name})
	}
	if c.session != nil {
		return c.redirect(next, "")
	}
	return c.page("sign-in", signInPage{OpenID: s.openid != nil, Next: next})
}

func (s *server) signIn(c *call) error {
	next := ownPath(c.form().Get("next"))
	again := func(status int, words string) error {
		c.status = status
		return c.page("sign-in", signInPage{OpenID: s.openid != nil, Next: next, Fault: words})
	}
	if words := plainOrigin(c.r); words != "" {
		return again(http.StatusForbidden, words)
	}
	kind := byKey
	if c.form().Get("link") != "" {
		kind = byLink
	}
	if wait := s.attempts.take(s.address(c.r), time.Now()); wait > 0 {
		s.metrics.tried(kind, limitedIn)
		c.w.Header().Set("Retry-After", seconds(wait))
		return again(http.StatusTooManyRequests, "Too many attempts to sign in. Try again in "+seconds(wait)+" s.")
	}
	who, err := s.credential(c)
	switch {
	case errors.Is(err, errNoLink):
		s.metrics.tried(kind, refusedIn)
		return again(http.StatusUnauthorized, linkGone)
	case errors.Is(err, tenancy.ErrUnauthenticated):
		s.metrics.tried(kind, refusedIn)
		s.log.Info("a sign-in was refused", zap.Stringer("address", s.address(c.r)))
		return again(http.StatusUnauthorized, "The key is unknown, revoked or expired.")
	case err != nil:
		s.metrics.tried(kind, unavailable)
		return err
	}
	if !who.From(s.address(c.r)) {
		s.metrics.tried(kind, refusedIn)
		return again(http.StatusForbidden, "The key is not accepted from this address.")
	}
	s.attempts.passed(s.address(c.r))
	return s.begin(c, kind, who, next)
}

// credential finds the principal behind the one-time link or the key of a form.
func (s *server) credential(c *call) (tenancy.Principal, error) {
	if link := c.form().Get("link"); link != "" {
		key, err := s.sessions.useLink(c.r.Context(), link)
		if err != nil {
			return tenancy.Principal{}, err
		}
		return tenancy.Identify(c.r.Context(), s.sessions.pool, key)
	}
	return tenancy.Authenticate(c.r.Context(), s.sessions.pool, strings.TrimSpace(c.form().Get("key")))
}

// name is what a session with a key is called.
func (s *server) name(c *call, id events.APIKeyID) (string, error) {
	key, tenant, err := tenancy.Names(c.r.Context(), s.sessions.pool, id)
	if err != nil {
		return "", err
	}
	if tenant == "" {
		tenant = "Operator"
	}
	if key != "" {
		tenant += " · " + key
	}
	return tenant, nil
}

// begin makes a session for a key and leads to the next page. A session that the browser
// has already ends, so that no session is ever taken over by another principal.
func (s *server) begin(c *call, kind string, who tenancy.Principal, next string) error {
	name, err := s.name(c, who.KeyID)
	if err != nil {
		s.metrics.tried(kind, unavailable)
		return err
	}
	return s.start(c, kind, session{keyID: who.KeyID, subject: who.KeyID.String(), name: name}, next)
}

// start stores a session, sets its cookie and leads to the next page.
func (s *server) start(c *call, kind string, in session, next string) error {
	if c.session != nil {
		if err := s.sessions.end(c.r.Context(), c.session.hash); err != nil {
			s.metrics.tried(kind, unavailable)
			return err
		}
	}
	token, err := s.sessions.create(c.r.Context(), in)
	if err != nil {
		s.metrics.tried(kind, unavailable)
		return err
	}
	s.metrics.tried(kind, signedIn)
	setCookie(c.w, c.r, token)
	s.log.Info("signed in to the console", zap.String("subject", in.subject), zap.Stringer("address", s.address(c.r)))
	return c.redirect(next, "")
}

func (s *server) signOut(c *call) error {
	if c.session == nil {
		return refused(http.StatusNotFound, "There is no session to end.")
	}
	if err := s.sessions.end(c.r.Context(), c.session.hash); err != nil {
		return err
	}
	setCookie(c.w, c.r, "")
	return c.redirect("/sign-in", "")
}

// plainOrigin says why a browser could not keep a session: it would not store a Secure
// cookie of a page that came by plain HTTP. It also refuses a form without any sign of
// where it comes from, which no CSRF token protects yet.
func plainOrigin(r *http.Request) string {
	origin := r.Header.Get("Origin")
	if origin == "" && r.Header.Get("Sec-Fetch-Site") == "" {
		return "The request says neither by Origin nor by Sec-Fetch-Site which page it comes from."
	}
	u, err := url.Parse(origin)
	if err == nil && u.Scheme == "http" && !loopback(u.Host) {
		return fmt.Sprintf("This page was opened by plain HTTP, at %s. Open it by HTTPS: a session's cookie needs it.", u.Host)
	}
	return ""
}
