package api

import (
	"context"
	"net/http"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// Once a process: names of fields are compared exactly, and null is no list.
var strict = sync.OnceFunc(func() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
})

func config(version string) huma.Config {
	strict()
	if version == "" {
		version = "dev"
	}
	c := huma.DefaultConfig("Fanmail", version)
	c.Info.Description = "Inbound mail as signed webhooks.\n\n" +
		"Errors are RFC 9457 problems that name the field. Lists are newest first and are read on with `next_cursor`. " +
		"Times are RFC 3339 in UTC. A POST with an `Idempotency-Key` takes effect once in 24 hours.\n\n" +
		"A key may make so many requests a second; `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` (seconds) tell how it stands. " +
		"One too many is a 429 with `Retry-After`."
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "An operator's or a tenant's key."},
	}
	// Routes of our own serve the document and show it; and no "$schema" in answers.
	c.OpenAPIPath, c.DocsPath, c.SchemasPath, c.CreateHooks = "", "", "", nil
	c.RejectUnknownQueryParameters = true
	c.Transformers = []huma.Transformer{plainProblem}
	return c
}

// who may call an operation.
type who int

const (
	tenants   who = iota // a tenant's key
	operators            // an operator's key
	anybody              // either
)

// routeKey finds the *route in a request's context.
type routeKey struct{}

// route tells the front which operation answered.
type route struct{ operation string }

// register adds an operation. Its scope follows from the method: GET reads,
// everything else writes. POSTs honour Idempotency-Key.
func register[I, O any](s *server, w who, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	op.Security = []map[string][]string{{"key": {}}}
	op.MaxBodyBytes = s.maxBody
	tag, _, _ := strings.Cut(strings.TrimPrefix(op.Path, "/v1/"), "/")
	op.Tags = []string{tag}
	scope := tenancy.ScopeWrite
	if op.Method == http.MethodGet {
		scope = tenancy.ScopeRead
	}
	id := op.OperationID
	op.Middlewares = huma.Middlewares{
		func(ctx huma.Context, next func(huma.Context)) {
			if seen, ok := ctx.Context().Value(routeKey{}).(*route); ok {
				seen.operation = id
			}
			next(ctx)
		},
		s.authenticate(w, scope),
		s.throttle,
	}
	if op.Method == http.MethodPost {
		one, most := 1, maxIdempotencyKey
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: idempotencyHeader, In: "header",
			Description: "Makes the request take effect once: the same request with the same key within 24 hours gets the same answer.",
			Schema:      &huma.Schema{Type: huma.TypeString, MinLength: &one, MaxLength: &most},
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

// body is an answer that is one JSON value.
type body[T any] struct{ Body T }

func reply[T any](v T) *body[T] { return &body[T]{Body: v} }

// nothing is the body of a POST that takes none: absent, or an empty object.
type nothing struct{}
