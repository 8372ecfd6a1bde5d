package console

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// sessionLife is how long a session lasts, and sessionIdle how long one lasts that
	// nobody uses.
	sessionLife = 24 * time.Hour
	sessionIdle = 8 * time.Hour
	// maxSessions bounds the sessions of one key or one identity: a new one ends the oldest.
	maxSessions = 50
)

// errNoSession means that a token belongs to no session, or to one that has ended.
var errNoSession = errors.New("no such session")

// session is a browser that is signed in.
type session struct {
	hash []byte
	csrf string
	// keyID is the key that signed in; zero for an identity of OpenID Connect.
	keyID events.APIKeyID
	// subject is the key's id, or the identity's issuer and subject.
	subject string
	// name is shown: that of the key or of the person.
	name     string
	tenantID events.TenantID // of an identity; zero: an operator, or a key
	scopes   []tenancy.Role  // of an identity
	// viewed is the tenant that an operator looks at; zero: none.
	viewed events.TenantID
	// who is the principal, as of now.
	who tenancy.Principal
}

// sessions are the rows of console_sessions and console_links.
type sessions struct{ pool *pgxpool.Pool }

func newToken() string {
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

func hashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

// derive returns a value that only the holder of a token can make.
func derive(token, purpose, text string) string {
	h := hmac.New(sha256.New, []byte(token))
	h.Write([]byte(purpose + "\n" + text))
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// create stores a session and returns its token. It ends the oldest sessions of the same
// key or identity beyond [maxSessions].
func (s *sessions) create(ctx context.Context, in session) (token string, err error) {
	token = newToken()
	scopes := in.scopes
	if scopes == nil {
		scopes = []tenancy.Role{}
	}
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO fanmail.console_sessions (token_hash, key_id, subject, name, tenant_id, scopes, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))`,
			hashToken(token), in.keyID, in.subject, in.name, in.tenantID, scopes, sessionLife.Seconds())
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM fanmail.console_sessions WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM fanmail.console_sessions WHERE subject = $1 ORDER BY created_at DESC OFFSET $2))`, in.subject, maxSessions)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("store a session: %w", err)
	}
	return token, nil
}

// load returns the session of a token with its principal. It returns [errNoSession] if the
// session has ended, also because its key is revoked. It records the use at most once a minute.
func (s *sessions) load(ctx context.Context, token string) (*session, error) {
	out := &session{hash: hashToken(token), csrf: derive(token, "csrf", "")}
	var stale bool
	var since time.Time
	err := s.pool.QueryRow(ctx, `SELECT key_id, subject, name, tenant_id, scopes, viewed_tenant_id, created_at, seen_at < now() - interval '1 minute'
		FROM fanmail.console_sessions
		WHERE token_hash = $1 AND expires_at > now() AND seen_at > now() - make_interval(secs => $2)`, out.hash, sessionIdle.Seconds()).
		Scan(&out.keyID, &out.subject, &out.name, &out.tenantID, &out.scopes, &out.viewed, &since, &stale)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errNoSession
	}
	if err != nil {
		return nil, fmt.Errorf("look up a session: %w", err)
	}
	if out.keyID.IsZero() {
		out.who, err = tenancy.OfSubject(ctx, s.pool, out.subject, out.name, out.tenantID.IsZero(), out.tenantID, out.scopes...)
	} else {
		out.who, err = tenancy.Identify(ctx, s.pool, out.keyID)
	}
	if errors.Is(err, tenancy.ErrUnauthenticated) {
		return nil, errNoSession
	}
	if err != nil {
		return nil, err
	}
	out.who.SignedInAt, out.who.Secret = since, secret.Text(token)
	if stale {
		if _, err := s.pool.Exec(ctx, `UPDATE fanmail.console_sessions SET seen_at = now() WHERE token_hash = $1`, out.hash); err != nil {
			return nil, fmt.Errorf("record the use of a session: %w", err)
		}
	}
	return out, nil
}

// view sets the tenant that an operator looks at; zero: none.
func (s *sessions) view(ctx context.Context, hash []byte, tenant events.TenantID) error {
	if _, err := s.pool.Exec(ctx, `UPDATE fanmail.console_sessions SET viewed_tenant_id = $2 WHERE token_hash = $1`, hash, tenant); err != nil {
		return fmt.Errorf("choose the tenant of a session: %w", err)
	}
	return nil
}

// end deletes a session.
func (s *sessions) end(ctx context.Context, hash []byte) error {
	if _, err := s.pool.Exec(ctx, `DELETE FROM fanmail.console_sessions WHERE token_hash = $1`, hash); err != nil {
		return fmt.Errorf("end a session: %w", err)
	}
	return nil
}

// RetentionRules delete sessions and links that have expired.
func RetentionRules() []retention.Rule {
	return []retention.Rule{
		retention.Rows("delete the console's sessions that have ended", `DELETE FROM fanmail.console_sessions WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM fanmail.console_sessions WHERE expires_at < now() LIMIT 5000))`),
		retention.Rows("delete the console's links that have expired", `DELETE FROM fanmail.console_links WHERE token_hash = ANY (ARRAY(
			SELECT token_hash FROM fanmail.console_links WHERE expires_at < now() LIMIT 5000))`),
	}
}
