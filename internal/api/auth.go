package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// who may call an operation.
type who int

const (
	tenants   who = iota // a tenant's key
	operators            // an operator's key
	anybody              // either
)

type principalKey struct{}

// caller is the principal of the request, which authenticate has found.
func caller(ctx context.Context) *tenancy.Principal {
	return ctx.Value(principalKey{}).(*tenancy.Principal)
}

// tenant is the tenant of the request's key; zero for an operator.
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
			refuse(http.StatusUnauthorized, "the header Authorization: Bearer <key> is required")
			return
		}
		p, err := tenancy.Authenticate(ctx.Context(), s.pool, secret)
		if errors.Is(err, tenancy.ErrUnauthenticated) {
			ctx.SetHeader("WWW-Authenticate", `Bearer realm="fanmail", error="invalid_token"`)
			refuse(http.StatusUnauthorized, "the key is unknown or revoked")
			return
		}
		if err != nil {
			s.refuse(ctx, err)
			return
		}
		switch {
		case w == tenants && p.Operator():
			refuse(http.StatusForbidden, "this operation needs a tenant's key; an operator's key creates tenants and keys")
		case w == operators && !p.Operator():
			refuse(http.StatusForbidden, "this operation needs an operator's key")
		case !p.May(scope):
			refuse(http.StatusForbidden, fmt.Sprintf("this operation needs a key with the scope %q", scope))
		default:
			sealed, err := newSeal(secret)
			if err != nil {
				s.refuse(ctx, err)
				return
			}
			next(huma.WithValue(huma.WithValue(ctx, principalKey{}, &p), sealKey{}, sealed))
		}
	}
}
