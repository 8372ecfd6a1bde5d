package console

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/openid"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// CallbackPath is the path to which the identity provider sends people back.
const CallbackPath = Base + callback

const (
	callback = "/sign-in/oidc/callback"
	// begunName is the name of the cookie that holds a sign-in at the provider, for begunLife.
	begunName = "fanmail_sign_in"
	begunLife = 10 * time.Minute
)

// begun is the content of that cookie.
type begun struct {
	openid.Begun
	Next string `json:"next"`
}

func (s *server) openidRoutes() {
	if s.openid == nil {
		return
	}
	s.open(http.MethodGet, "/sign-in/oidc", s.openidBegin)
	s.open(http.MethodGet, callback, s.openidFinish)
}

// openidBegin leads to the provider. It is no form: browsers apply the policy for forms to
// where a form's answer leads.
func (s *server) openidBegin(c *call) error {
	to, b, err := s.openid.Begin(c.r.Context())
	if err != nil {
		return s.notSignedIn(c, err)
	}
	text, err := json.Marshal(begun{Begun: b, Next: ownPath(c.query().Get("next"))})
	if err != nil {
		return err
	}
	http.SetCookie(c.w, begunCookie(c.r, base64.RawURLEncoding.EncodeToString(text), begunLife))
	http.Redirect(c.w, c.r, to, http.StatusSeeOther)
	return nil
}

func begunCookie(r *http.Request, value string, life time.Duration) *http.Cookie {
	cookie := &http.Cookie{ //nolint:gosec // Secure except on this machine
		Name: begunName, Value: value, Path: "/", HttpOnly: true, Secure: secureCookie(r), SameSite: http.SameSiteLaxMode,
		MaxAge: int(life.Seconds()),
	}
	if cookie.Secure {
		cookie.Name = "__Host-" + begunName
	}
	return cookie
}

func (s *server) openidFinish(c *call) error {
	var b begun
	cookie, err := c.r.Cookie(begunCookie(c.r, "", 0).Name)
	if err == nil {
		if text, err := base64.RawURLEncoding.DecodeString(cookie.Value); err == nil {
			_ = json.Unmarshal(text, &b) // an empty state is refused
		}
	}
	http.SetCookie(c.w, begunCookie(c.r, "", -time.Second)) // an answer counts once
	if wait := s.attempts.take(s.address(c.r), time.Now()); wait > 0 {
		s.metrics.tried(byOpenID, limitedIn)
		c.w.Header().Set("Retry-After", seconds(wait))
		return refused(http.StatusTooManyRequests, "Too many attempts to sign in. Try again in "+seconds(wait)+" s.")
	}
	who, err := s.openid.Finish(c.r.Context(), b.Begun, c.query())
	if err != nil {
		return s.notSignedIn(c, err)
	}
	if who.Role.TenantID.IsZero() != (who.Role.Name == openid.Operator) {
		return fmt.Errorf("sign in by OpenID Connect: the role %s does not fit its tenant", who.Role.Name)
	}
	in := session{subject: who.Subject, name: who.Name, tenantID: who.Role.TenantID, scopes: []tenancy.Role{tenancy.RoleAdmin}}
	if who.Role.Name == openid.Viewer {
		in.scopes = []tenancy.Role{tenancy.RoleRead}
	}
	s.attempts.passed(s.address(c.r))
	return s.start(c, byOpenID, in, ownPath(b.Next))
}

// notSignedIn shows the page to sign in with the reason.
func (s *server) notSignedIn(c *call, err error) error {
	words, result := "The sign-in was not completed. Try again.", refusedIn
	c.status = http.StatusForbidden
	switch {
	case errors.Is(err, openid.ErrUnavailable):
		result = unavailable
		c.status, words = http.StatusServiceUnavailable, "The identity provider can't be reached. Try again, or sign in with a key."
	case errors.Is(err, openid.ErrNoRole):
		words = "None of your groups has a role here. Ask the operator."
	}
	s.metrics.tried(byOpenID, result)
	s.log.Warn("a sign-in by OpenID Connect failed", zap.Stringer("address", s.address(c.r)), zap.Error(err))
	return c.page("sign-in", signInPage{Next: "/", Fault: words, OpenID: true})
}
