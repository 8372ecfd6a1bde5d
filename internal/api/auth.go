package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// The scopes of a key. One with none may do everything that its kind may.
const (
	ScopeRead  = "read"  // GET
	ScopeWrite = "write" // everything else
)

// Principal is whom a key speaks for.
type Principal struct {
	KeyID events.APIKeyID
	// TenantID is zero for an operator.
	TenantID events.TenantID
	// Scopes are empty where the key has all.
	Scopes []string
	// RateLimit is how many requests a second the key itself allows; 0: as
	// many as the server does.
	RateLimit int
}

// Operator says whether the key is an operator's.
func (p *Principal) Operator() bool { return p.TenantID.IsZero() }

func (p *Principal) may(scope string) bool {
	return len(p.Scopes) == 0 || slices.Contains(p.Scopes, scope)
}

// ErrUnauthenticated says that a secret is no key's, or a revoked one's.
var ErrUnauthenticated = errors.New("no such key")

// hash is how a secret is kept. The secrets are random and long, so that a
// slow hash would protect nothing.
func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Authenticate finds whom a secret speaks for, and notes that the key was
// used, at most once a minute. It returns [ErrUnauthenticated].
func Authenticate(ctx context.Context, db subscribers.DB, secret string) (Principal, error) {
	var p Principal
	var stale bool
	err := db.QueryRow(ctx, `SELECT id, tenant_id, scopes, coalesce(rate_limit, 0), coalesce(last_used_at < now() - interval '1 minute', true)
		FROM fanmail.api_keys WHERE secret_hash = $1 AND revoked_at IS NULL`, hash(secret)).Scan(&p.KeyID, &p.TenantID, &p.Scopes, &p.RateLimit, &stale)
	if errors.Is(err, pgx.ErrNoRows) {
		return Principal{}, ErrUnauthenticated
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up a key: %w", err)
	}
	if stale {
		_, err = db.Exec(ctx, `UPDATE fanmail.api_keys SET last_used_at = now()
			WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')`, p.KeyID)
		if err != nil {
			return Principal{}, fmt.Errorf("note a key's use: %w", err)
		}
	}
	return p, nil
}

type principalKey struct{}

// caller is whom the request's key speaks for; authenticate has put it there.
func caller(ctx context.Context) *Principal {
	return ctx.Value(principalKey{}).(*Principal)
}

// tenant is the tenant of the request's key, on routes for tenants.
func tenant(ctx context.Context) events.TenantID { return caller(ctx).TenantID }

func (s *server) authenticate(w who, scope string) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		refuse := func(status int, words string) {
			_ = huma.WriteErr(s.api, ctx, status, words)
		}
		scheme, secret, _ := strings.Cut(ctx.Header("Authorization"), " ")
		secret = strings.TrimSpace(secret)
		if !strings.EqualFold(scheme, "Bearer") || secret == "" {
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="fanmail"`)
			refuse(http.StatusUnauthorized, "Authorization: Bearer <key> is required")
			return
		}
		p, err := Authenticate(ctx.Context(), s.pool, secret)
		if errors.Is(err, ErrUnauthenticated) {
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="fanmail", error="invalid_token"`)
			refuse(http.StatusUnauthorized, "the key is not known or has been revoked")
			return
		}
		if err != nil {
			s.refuse(ctx, err)
			return
		}
		switch {
		case w == tenants && p.Operator():
			refuse(http.StatusForbidden, "this needs a tenant's key; an operator's key makes tenants and keys")
		case w == operators && !p.Operator():
			refuse(http.StatusForbidden, "this needs an operator's key")
		case !p.may(scope):
			refuse(http.StatusForbidden, fmt.Sprintf("this needs a key with the scope %q", scope))
		default:
			next(huma.WithValue(ctx, principalKey{}, &p))
		}
	}
}

// refuse answers for an error outside a handler.
func (s *server) refuse(ctx huma.Context, err error) {
	err = s.answer(ctx.Context(), ctx.Operation().OperationID, err)
	var headers huma.HeadersError
	if errors.As(err, &headers) {
		for k, values := range headers.GetHeaders() {
			for _, v := range values {
				ctx.AppendHeader(k, v)
			}
		}
	}
	var model *huma.ErrorModel
	if !errors.As(err, &model) {
		model = &huma.ErrorModel{Status: http.StatusInternalServerError, Detail: "internal error"}
	}
	details := make([]error, len(model.Errors))
	for i, d := range model.Errors {
		details[i] = d
	}
	_ = huma.WriteErr(s.api, ctx, model.Status, model.Detail, details...)
}
