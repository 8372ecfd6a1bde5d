package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/audit"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// auditEntry is one change of the audit log.
type auditEntry struct {
	At        time.Time        `json:"at"`
	TenantID  *events.TenantID `json:"tenant_id" nullable:"true" doc:"Whose data was changed; null for the installation."`
	ActorKind string           `json:"actor_kind" enum:"key,member,portal"`
	ActorID   string           `json:"actor_id" doc:"The id of the key or the portal link, or the subject of the member."`
	ActorName string           `json:"actor_name"`
	Address   *string          `json:"address" doc:"Where the request came from; null if it is not known."`
	Operation string           `json:"operation" example:"change-webhook" doc:"The operation's id in this document."`
	Object    string           `json:"object" doc:"What was changed: an id, an address or a domain; empty for a creation, whose id after has."`
	Before    json.RawMessage  `json:"before" doc:"The object before, where it was changed or deleted; null otherwise, and where the change left it as it was. Secrets are \"***\"."`
	After     json.RawMessage  `json:"after" doc:"The object after, or what the request asked for; null for nothing, and where the change left it as it was. Secrets are \"***\"."`
}

type auditQuery struct {
	Paging
	TenantID  events.TenantID `query:"tenant_id" doc:"For operators: only changes of this tenant's data."`
	Since     instant         `query:"since" doc:"Changes at this time or later."`
	Until     instant         `query:"until" doc:"Changes before this time."`
	Actor     storedText      `query:"actor" maxLength:"500" doc:"Only changes by the actor with this id or name."`
	Operation storedText      `query:"operation" maxLength:"100" doc:"Only changes by this operation."`
	Object    storedText      `query:"object" maxLength:"500" doc:"Only changes of this object."`
}

func (s *server) auditRoutes() {
	register(s, anybody.needs(tenancy.Administer), huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: "/v1/audit", Summary: "List who changed what",
		Description: scanNote + " A tenant sees changes of its own data, by operators too. An operator sees all changes, or those of `tenant_id`. " +
			"Events that are created are not listed: the event log has them.",
	}, s.listAudit)
}

func (s *server) listAudit(ctx context.Context, in *auditQuery) (*body[list[auditEntry]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	of, err := listed(ctx, in.TenantID)
	if err != nil {
		return nil, err
	}
	found, end, err := audit.List(ctx, s.pool, audit.Filter{
		TenantID: of, Since: in.Since.Time, Until: in.Until.Time, Actor: string(in.Actor), Operation: string(in.Operation), Object: string(in.Object),
	}, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(e audit.Entry) (time.Time, [16]byte) { return e.CreatedAt, e.ID }
	return pageTo(&in.Paging, found, end, place, showAudit), nil
}

func showAudit(e audit.Entry) auditEntry {
	out := auditEntry{
		At: e.CreatedAt, ActorKind: e.ActorKind, ActorID: e.ActorID, ActorName: e.ActorName, Operation: e.Operation, Object: e.Object,
		Before: e.Before, After: e.After,
	}
	if !e.TenantID.IsZero() {
		out.TenantID = &e.TenantID
	}
	if e.Address.IsValid() {
		address := e.Address.String()
		out.Address = &address
	}
	return out
}
