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

type inProcessKey struct{}

// As returns a context for requests of this process to the API's own handler. They are
// served as p, and their Authorization header is not read. The caller has found p to be
// valid now; no request from outside can carry such a context.
func As(ctx context.Context, p tenancy.Principal) context.Context {
	return context.WithValue(ctx, inProcessKey{}, p)
}

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
		if p, ok := ctx.Context().Value(inProcessKey{}).(tenancy.Principal); ok {
			if status, words := permit(&p, w, scope); status != 0 {
				refuse(status, words)
				return
			}
			// No Idempotency-Key comes from inside, so that nothing is sealed.
			next(huma.WithValue(ctx, principalKey{}, &p))
			return
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
		if status, words := permit(&p, w, scope); status != 0 {
			refuse(status, words)
			return
		}
		sealed, err := newSeal(secret)
		if err != nil {
			s.refuse(ctx, err)
			return
		}
		next(huma.WithValue(huma.WithValue(ctx, principalKey{}, &p), sealKey{}, sealed))
	}
}

// permit returns the status and the words of a refusal; zero for a principal that may call
// the operation.
func permit(p *tenancy.Principal, w who, scope string) (status int, words string) {
	switch {
	case w == tenants && p.Operator():
		return http.StatusForbidden, "this operation needs a tenant's key; an operator's key creates tenants and keys"
	case w == operators && !p.Operator():
		return http.StatusForbidden, "this operation needs an operator's key"
	case !p.May(scope):
		return http.StatusForbidden, fmt.Sprintf("this operation needs a key with the scope %q", scope)
	}
	return 0, ""
}
