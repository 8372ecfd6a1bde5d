package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/audit"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// pending is the entry of a request that is not written yet.
type pending struct {
	server            *server
	method            string
	operation, object string
	of                events.TenantID // that the path or the query names
	body              []byte
	written           bool
}

// auditing gives a request that changes something an entry of the audit log.
func (s *server) auditing(ctx huma.Context, next func(huma.Context)) {
	p := &pending{server: s, method: ctx.Operation().Method, operation: ctx.Operation().OperationID}
	// The first parameter of the path names the object.
	if _, rest, ok := strings.Cut(ctx.Operation().Path, "{"); ok {
		name, _, _ := strings.Cut(rest, "}")
		p.object = ctx.Param(name)
	}
	named := ctx.Query(tenantParameter)
	if strings.HasPrefix(ctx.Operation().Path, "/v1/tenants/{id}") {
		named = p.object
	}
	_ = p.of.UnmarshalText([]byte(named)) // zero for none
	next(huma.WithValue(ctx, entryKey{}, p))
}

// created is what names an object that a request without one in its path has made.
func created(object json.RawMessage) string {
	var named struct{ ID, Address, Domain, Name string }
	_ = json.Unmarshal(object, &named)
	return cmp.Or(named.ID, named.Address, named.Domain, named.Name)
}

// ofDeleted are the operations that change a deleted tenant.
var ofDeleted = map[string]bool{"delete-tenant": true, "restore-tenant": true}

// counts reports whether a request counts against the changes of the caller's day. What is
// deleted was counted when it was created, and nobody is kept from revoking a key. Operators
// have no limit.
func (p *pending) counts(ctx context.Context) bool {
	return p.method != http.MethodDelete && !caller(ctx).Operator()
}

func (p *pending) room(ctx context.Context, u *unit) error {
	if !p.counts(ctx) {
		return nil
	}
	return p.server.roomForChange(ctx, u)
}

func (p *pending) announced() bool { return p.written }

// record writes the entry of a request in the transaction of its change, once, and counts the change: no entry is
// without a quota. An object that is after the change as it was before is left out. It refuses a change of a deleted tenant,
// which an operator alone can ask for: nobody else is let in.
func (p *pending) record(ctx context.Context, u *unit) error {
	if p.written || u.unchanged {
		return nil
	}
	me := caller(ctx)
	e := audit.Entry{
		TenantID: me.TenantID, ActorName: me.Actor, Address: me.Address, Operation: p.operation, Object: p.object,
		Before: audit.Redact(u.before), After: audit.Redact(u.now),
	}
	if u.now == nil {
		e.After = audit.Redact(p.body)
	} else if e.Object == "" {
		e.Object = created(e.After)
	}
	if p.repeats(u) {
		e.Before, e.After = nil, nil
	}
	switch {
	case !me.KeyID.IsZero():
		e.ActorKind, e.ActorID = "key", me.KeyID.String()
	case me.Portal():
		e.ActorKind, e.ActorID = "portal", me.PortalID.String()
	default:
		e.ActorKind, e.ActorID = "member", me.Subject
	}
	if me.Operator() {
		e.TenantID = p.of
		if e.TenantID.IsZero() {
			e.TenantID = u.of
		}
		var named struct {
			TenantID events.TenantID `json:"tenant_id"`
		}
		if e.TenantID.IsZero() && json.Unmarshal(p.body, &named) == nil {
			e.TenantID = named.TenantID
		}
		if !e.TenantID.IsZero() && !ofDeleted[p.operation] {
			if err := tenancy.InUse(ctx, u, e.TenantID); err != nil {
				return err
			}
		}
	}
	if err := audit.Insert(ctx, u, e); err != nil {
		return err
	}
	p.written = true
	if u.events || !p.counts(ctx) {
		return nil
	}
	return p.server.countChange(ctx, u)
}

// repeats reports whether a request has left an object as it was. One that rotates or sets a
// secret has not, although no copy shows it.
func (p *pending) repeats(u *unit) bool {
	if p.method != http.MethodPatch || u.before == nil || u.now == nil {
		return false
	}
	was, err := json.Marshal(u.before)
	is, failed := json.Marshal(u.now)
	return err == nil && failed == nil && bytes.Equal(was, is) && !audit.Hides(p.body)
}
