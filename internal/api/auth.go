package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// who says which callers may call an operation, and which right it takes. Start from
// tenants, operators or anybody.
type who struct {
	tenant, operator bool
	// portal: those with a portal link may call it too. Its handler shows them the
	// webhooks of the link alone.
	portal bool
	// right is what the caller must have. Zero: [tenancy.Read] for GET, [tenancy.Change]
	// for every other method.
	right tenancy.Rights
	// silent: the audit log does not have the operation.
	silent bool
	// loud: the audit log has the operation although it only reads.
	loud bool
}

var (
	tenants   = who{tenant: true}                 // callers of a tenant
	operators = who{operator: true}               // operators
	anybody   = who{tenant: true, operator: true} // both
)

// needs returns w for an operation that takes a right of its own.
func (w who) needs(r tenancy.Rights) who { w.right = r; return w }

// unaudited returns w for an operation that changes nothing, or that is called for each
// event: the audit log does not have it.
func (w who) unaudited() who { w.silent = true; return w }

// audited returns w for an operation that only reads and that the audit log has all the same. Its
// handler must call [record].
func (w who) audited() who { w.loud = true; return w }

// orPortal returns w for an operation that those with a portal link may call too. Its
// handler must ask [tenancy.Principal.Shows].
func (w who) orPortal() who { w.portal = true; return w }

// of returns the right that an operation with a method takes.
func (w who) of(method string) tenancy.Rights {
	switch {
	case w.right != 0:
		return w.right
	case method == http.MethodGet:
		return tenancy.Read
	}
	return tenancy.Change
}

// lends reports whether operators may call the operation for one tenant: if it reads and
// is for tenants alone.
func (w who) lends(method string) bool {
	return method == http.MethodGet && w.tenant && !w.operator && w.of(method) == tenancy.Read
}

type principalKey struct{}

// caller is the principal of the request, which authenticate has found.
func caller(ctx context.Context) *tenancy.Principal {
	return ctx.Value(principalKey{}).(*tenancy.Principal)
}

// tenant is the tenant on which the request acts; zero for an operator that names none.
func tenant(ctx context.Context) events.TenantID { return caller(ctx).TenantID }

// listed is the tenant whose objects a list has that may be asked for those of one tenant, asked. An operator may ask for
// any, and with a zero one for all. Another has its own, and does not learn of others.
func listed(ctx context.Context, asked events.TenantID) (events.TenantID, error) {
	me := caller(ctx)
	if me.Operator() {
		return asked, nil
	}
	if !asked.IsZero() && asked != me.TenantID {
		return asked, subscribers.ErrNotFound
	}
	return me.TenantID, nil
}

// inProcess finds the principal of an in-process caller in a request's context.
type inProcess struct{}

// As returns a context whose requests to the handler of [NewHandler] are those of p
// instead of the Authorization header's key. The handler asks the database again what p
// may do, so that p is who calls and never has more rights than its key, link or roles.
// It is for callers in the same process, which say in p where the request comes from.
func As(ctx context.Context, p tenancy.Principal) context.Context {
	return context.WithValue(ctx, inProcess{}, p)
}

// identify returns who makes the request. An error is answered.
func (s *server) identify(ctx huma.Context) (p tenancy.Principal, sealed *seal, ok bool) {
	refuse := func(challenge, words string) {
		ctx.SetHeader("WWW-Authenticate", challenge)
		_ = huma.WriteErr(s.api, ctx, http.StatusUnauthorized, words)
	}
	var err error
	var secret string
	if given, is := ctx.Context().Value(inProcess{}).(tenancy.Principal); is {
		p, err = tenancy.Confirm(ctx.Context(), s.pool, given)
		if secret = p.Secret.Reveal(); secret == "" {
			secret = s.ownSecret
		}
		secret += string(p.Identity())
	} else {
		var scheme string
		scheme, secret, _ = strings.Cut(ctx.Header("Authorization"), " ")
		secret = strings.TrimSpace(secret)
		if !strings.EqualFold(scheme, "Bearer") || secret == "" {
			refuse(`Bearer realm="fanmail"`, "the header Authorization: Bearer <key> is required")
			return p, nil, false
		}
		p, err = tenancy.Authenticate(ctx.Context(), s.pool, secret)
		p.Address = s.clientAddress(ctx)
	}
	if errors.Is(err, tenancy.ErrUnauthenticated) {
		refuse(`Bearer realm="fanmail", error="invalid_token"`, "the key is unknown, revoked or expired")
		return p, nil, false
	}
	if err == nil {
		sealed, err = newSeal(secret)
	}
	if err != nil {
		s.refuse(ctx, err)
		return p, nil, false
	}
	return p, sealed, true
}

func (s *server) authenticate(w who) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		p, sealed, ok := s.identify(ctx)
		if !ok {
			return
		}
		right := w.of(ctx.Operation().Method)
		refuse := func(words string, about ...any) {
			_ = huma.WriteErr(s.api, ctx, http.StatusForbidden, fmt.Sprintf(words, about...))
		}
		named := ""
		if w.lends(ctx.Operation().Method) {
			if ctx, named, ok = withoutTenant(ctx); !ok {
				s.refuse(ctx, fault("query.tenant_id", "must be given once"))
				return
			}
		}
		switch {
		case !p.From(p.Address):
			refuse("this key is not accepted from %s; its networks are %s", shownAddress(p.Address), shownNetworks(p.Networks))
		case p.Portal() && !w.portal:
			refuse("a portal link doesn't allow this operation")
		case !w.tenant && !p.Operator():
			refuse("this operation needs an operator's key")
		case !w.operator && p.Operator() && (named == "" || !w.lends(ctx.Operation().Method)):
			refuse("this operation needs a tenant's key%s", map[bool]string{true: ", or an operator's key with the parameter tenant_id"}[w.lends(ctx.Operation().Method)])
		case !p.May(right):
			refuse("this operation needs a key with one of the roles %s", shownRoles(right))
		default:
			if named != "" {
				if err := s.actFor(ctx.Context(), &p, named); err != nil {
					s.refuse(ctx, err)
					return
				}
			}
			next(huma.WithValue(huma.WithValue(ctx, principalKey{}, &p), sealKey{}, sealed))
		}
	}
}

// withoutTenant takes the parameter tenant_id out of a request, and returns its value. It
// is part of who calls, so that no handler knows it. Not ok: it is given twice.
func withoutTenant(ctx huma.Context) (without huma.Context, named string, ok bool) {
	r, out := humago.Unwrap(ctx)
	query := r.URL.Query()
	values, has := query[tenantParameter]
	if !has {
		return ctx, "", true
	}
	if len(values) != 1 || values[0] == "" {
		return ctx, "", false
	}
	query.Del(tenantParameter)
	request := r.WithContext(ctx.Context())
	address := *r.URL
	address.RawQuery = query.Encode()
	request.URL = &address
	return humago.NewContext(ctx.Operation(), request, out), values[0], true
}

// tenantParameter is the query parameter by which an operator reads for a tenant.
const tenantParameter = "tenant_id"

// actFor lets an operator read as the named tenant. A tenant's caller may name its own.
// The rights are [tenancy.Read] alone.
func (s *server) actFor(ctx context.Context, p *tenancy.Principal, named string) error {
	id, err := events.Parse[events.TenantKind](named)
	if err != nil {
		return fault("query."+tenantParameter, "%s", err)
	}
	if !p.Operator() {
		if id != p.TenantID {
			return problem(http.StatusNotFound, "not found")
		}
		return nil
	}
	quota, err := tenancy.GetQuota(ctx, s.pool, id)
	if err != nil {
		return err // no rows: 404
	}
	p.TenantID, p.Quota, p.Rights = id, quota, tenancy.Read
	return nil
}

func shownRoles(right tenancy.Rights) string {
	names := make([]string, 0, len(tenancy.Roles()))
	for _, r := range tenancy.Allowing(right) {
		names = append(names, string(r))
	}
	return strings.Join(names, ", ")
}

func shownAddress(a netip.Addr) string {
	if !a.IsValid() {
		return "an unknown address"
	}
	return a.String()
}

func shownNetworks(list []netip.Prefix) string {
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.String()
	}
	return strings.Join(names, ", ")
}
