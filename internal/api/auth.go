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

type principalKey struct{}

// caller is whom the request's key speaks for; authenticate has put it there.
func caller(ctx context.Context) *tenancy.Principal {
	return ctx.Value(principalKey{}).(*tenancy.Principal)
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
		p, err := tenancy.Authenticate(ctx.Context(), s.pool, secret)
		if errors.Is(err, tenancy.ErrUnauthenticated) {
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
		case !p.May(scope):
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
