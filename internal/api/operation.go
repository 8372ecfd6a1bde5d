package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/internal/release"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// strict makes package huma compare field names exactly, and reject null for a
// list. Both are global settings.
var strict = sync.OnceFunc(func() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
})

func config() huma.Config {
	strict()
	c := huma.DefaultConfig("Fanmail", release.Version())
	c.Info.Description = "Fanmail turns inbound mail into signed webhooks.\n\n" +
		"Errors are RFC 9457 problems that name the wrong field. Lists are sorted newest first; `next_cursor` leads to the next page. " +
		"Times are RFC 3339 in UTC. " + fmt.Sprintf("A POST with an `Idempotency-Key` takes effect once in %.0f hours.\n\n", idempotencyTTL.Hours()) +
		"A key has a rate limit. The headers `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds) describe its state. " +
		"A request above the limit gets a 429 with `Retry-After`."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "The key of an operator or of a tenant."},
	}
	// docs.go serves the document and its page. Responses have no "$schema".
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Formats = map[string]huma.Format{jsonType: jsonFormat, "json": jsonFormat}
	c.Transformers = []huma.Transformer{plainProblem}
	return c
}

// routeKey finds the *route in a request's context.
type routeKey struct{}

// route tells front which operation answered.
type route struct{ operation string }

// register adds an operation. w says who may call it, and with which right: without one of
// its own, Read for GET and Change for all others. A POST accepts an Idempotency-Key.
func register[I, O any](s *server, w who, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	op.Security = []map[string][]string{{"key": {}}}
	op.MaxBodyBytes = s.maxBody
	tag, _, _ := strings.Cut(strings.TrimPrefix(op.Path, "/v1/"), "/")
	op.Tags = []string{tag}
	describeCallers(&op, w)
	id := op.OperationID
	op.Middlewares = huma.Middlewares{
		func(ctx huma.Context, next func(huma.Context)) {
			if seen, ok := ctx.Context().Value(routeKey{}).(*route); ok {
				seen.operation = id
			}
			next(ctx)
		},
		s.authenticate(w),
		s.throttle,
		s.whole,
	}
	audited := w.loud || op.Method != http.MethodGet && !w.silent
	if audited {
		op.Middlewares = append(op.Middlewares[:3:3], s.auditing, s.whole)
	}
	if op.Method == http.MethodPost {
		one, most := 1, maxIdempotencyKey
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: idempotencyHeader, In: "header",
			Description: fmt.Sprintf("Makes the request take effect once: within %.0f hours, the same request with the same key gets the same response. One that changes nothing is answered anew.",
				idempotencyTTL.Hours()),
			Schema: &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most},
		})
		op.Middlewares = append(op.Middlewares, s.once)
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.answer(ctx, id, err)
		}
		return out, nil
	})
}

// describeCallers adds to an operation's document who may call it.
func describeCallers(op *huma.Operation, w who) {
	right := w.of(op.Method)
	roles := shownRoles(right)
	if op.Extensions == nil {
		op.Extensions = map[string]any{}
	}
	callers := []string{}
	for _, c := range []struct {
		name string
		may  bool
	}{{"tenant", w.tenant}, {"operator", w.operator}, {"operator for a tenant", w.lends(op.Method)}, {"portal", w.portal}} {
		if c.may {
			callers = append(callers, c.name)
		}
	}
	op.Extensions["x-roles"], op.Extensions["x-callers"] = tenancy.Allowing(right), callers
	op.Description = strings.TrimSpace(op.Description + " Roles: " + roles + ".")
	if w.lends(op.Method) {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: tenantParameter, In: "query", Description: "For operators: the tenant whose data is read.",
			Schema: &huma.Schema{Type: huma.TypeString, Pattern: "^ten_[0-9a-fA-F]{32}$"},
		})
	}
}
