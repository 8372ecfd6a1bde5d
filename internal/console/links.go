package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// linkLife is how long a one-time link can be used.
	linkLife = 10 * time.Minute
	// maxLinks bounds the unused links of one key: a new one ends the oldest.
	maxLinks = 20
)

// errNoLink means that a token belongs to no link, or to one that is used or has expired.
var errNoLink = errors.New("no such link")

// createLink stores a one-time link to sign in with a key, and returns its token.
func (s *sessions) createLink(ctx context.Context, key events.APIKeyID) (token string, expires time.Time, err error) {
	token = newToken()
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `INSERT INTO fanmail.console_links (token_hash, key_id, expires_at)
			VALUES ($1, $2, now() + make_interval(secs => $3)) RETURNING expires_at`, hashToken(token), key, linkLife.Seconds()).Scan(&expires)
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM fanmail.console_links WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM fanmail.console_links WHERE key_id = $1 ORDER BY expires_at DESC OFFSET $2))`, key, maxLinks)
		return err
	})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("store a link to sign in: %w", err)
	}
	return token, expires.UTC(), nil
}

// findLink returns the key of a link, which stays usable.
func (s *sessions) findLink(ctx context.Context, token string) (events.APIKeyID, error) {
	return s.link(ctx, `SELECT key_id FROM fanmail.console_links WHERE token_hash = $1 AND expires_at > now()`, token)
}

// useLink returns the key of a link, which can't be used again.
func (s *sessions) useLink(ctx context.Context, token string) (events.APIKeyID, error) {
	return s.link(ctx, `DELETE FROM fanmail.console_links WHERE token_hash = $1 AND expires_at > now() RETURNING key_id`, token)
}

func (s *sessions) link(ctx context.Context, statement, token string) (key events.APIKeyID, err error) {
	err = s.pool.QueryRow(ctx, statement, hashToken(token)).Scan(&key)
	if errors.Is(err, pgx.ErrNoRows) {
		return key, errNoLink
	}
	if err != nil {
		return key, fmt.Errorf("look up a link to sign in: %w", err)
	}
	return key, nil
}

// LinksPath takes a POST with an API key, as the API's operations do, and answers with a [Link].
const LinksPath = Base + "/links"

// Link is a one-time link to sign in.
type Link struct {
	// Path is the link without the server's scheme and host.
	Path      string    `json:"path"`
	ExpiresAt time.Time `json:"expires_at"`
}

// serveLinks makes a link for the key of the request. No browser sends that header by
// itself, so that it needs no CSRF token.
func (s *server) serveLinks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/problem+json")
	refuse := func(status int, words string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(apiclient.Problem{Status: status, Title: http.StatusText(status), Detail: words})
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(http.StatusMethodNotAllowed, "this path does not support "+r.Method+"; use POST")
		return
	}
	if wait := s.attempts.take(s.address(r), time.Now()); wait > 0 {
		s.metrics.tried(forNewOne, limitedIn)
		w.Header().Set("Retry-After", seconds(wait))
		refuse(http.StatusTooManyRequests, "too many attempts to sign in; try again in "+seconds(wait)+" s")
		return
	}
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		secret = ""
	}
	who, err := tenancy.Authenticate(r.Context(), s.sessions.pool, strings.TrimSpace(secret))
	if err == nil && !who.From(s.address(r)) {
		err = tenancy.ErrUnauthenticated
	}
	if errors.Is(err, tenancy.ErrUnauthenticated) {
		s.metrics.tried(forNewOne, refusedIn)
		w.Header().Set("WWW-Authenticate", `Bearer realm="fanmail"`)
		refuse(http.StatusUnauthorized, "the key is unknown, revoked or expired")
		return
	}
	var link Link
	if err == nil {
		s.attempts.passed(s.address(r))
		var token string
		token, link.ExpiresAt, err = s.sessions.createLink(r.Context(), who.KeyID)
		link.Path = Base + "/sign-in?" + url.Values{"link": {token}}.Encode()
	}
	if err != nil {
		s.metrics.tried(forNewOne, unavailable)
		s.log.Error("a link to sign in was not made", zap.Error(err))
		refuse(http.StatusInternalServerError, "internal error")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	s.metrics.tried(forNewOne, signedIn)
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(link)
}
