package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

type createErasureInput struct {
	Body struct {
		Address storedText `json:"address" maxLength:"254" example:"ann@example.com" doc:"One whole address, without a name. Letters of either case are the same."`
	} `nameHint:"ErasureRequest"`
}

type erasurePath struct {
	ID events.ErasureID `path:"id"`
}

type listErasuresInput struct {
	Paging
	TenantID events.TenantID `query:"tenant_id" doc:"For operators: only erasures of this tenant's data."`
}

func (s *server) erasureRoutes() {
	register(s, tenants.needs(tenancy.Administer), huma.Operation{
		OperationID: "create-erasure", Method: http.MethodPost, Path: "/v1/erasures", DefaultStatus: http.StatusAccepted,
		Summary: "Erase all mail from and to an address",
		Description: "Each event until now whose sender, recipients or agent are the address is removed, with its message, its raw mail, its deliveries and attempts. " +
			"Where an event lacks addresses, by its `truncated`, the raw mail is searched; `not_searched` counts those whose raw mail is gone. " +
			"It can't be undone. The answer is the erasure, which counts what it removes; it never shows the address.",
	}, s.createErasure)
	register(s, anybody.needs(tenancy.Administer), huma.Operation{
		OperationID: "list-erasures", Method: http.MethodGet, Path: "/v1/erasures", Summary: "List erasures",
		Description: "A tenant sees its own. An operator sees all, or those of `tenant_id`.",
	}, s.listErasures)
	register(s, anybody.needs(tenancy.Administer), huma.Operation{
		OperationID: "get-erasure", Method: http.MethodGet, Path: "/v1/erasures/{id}", Summary: "Read an erasure: what was removed, and when",
	}, s.getErasure)
	register(s, anybody.needs(tenancy.Administer), huma.Operation{
		OperationID: "delete-tenant", Method: http.MethodDelete, Path: "/v1/tenants/{id}", DefaultStatus: http.StatusAccepted,
		Summary: "Delete a tenant, and erase all that it has after a grace period",
		Description: "For operators. At once, its keys, members and portal links are refused, its agents take no mail and its intake messages are dead letters. What was accepted before is still delivered. " +
			"When the grace period is over, all rows of the tenant are removed, its messages in the streams and its blobs. Until then restore-tenant undoes it.",
	}, s.deleteTenant)
	register(s, anybody.needs(tenancy.Administer), huma.Operation{
		OperationID: "restore-tenant", Method: http.MethodPost, Path: "/v1/tenants/{id}/restore", Summary: "Restore a deleted tenant within its grace period",
		Description: "For operators. A 409 if the tenant is not deleted, or if its grace period is over: see `due_at` of its erasure.",
	}, s.restoreTenant)
	register(s, tenants.needs(tenancy.Administer), huma.Operation{
		OperationID: "delete-message", Method: http.MethodDelete, Path: "/v1/messages/{id}", DefaultStatus: http.StatusAccepted,
		Summary: "Erase a message",
		Description: "The message is removed with its raw mail, the events that name it, and their deliveries and attempts. It can't be undone. " +
			"A raw mail that another agent received too stays until that agent's message is erased. The answer is the erasure, which counts what it removes.",
	}, s.deleteMessage)
}

// actor is who makes the request, as the audit log names it.
func actor(ctx context.Context) string {
	if me := caller(ctx); !me.KeyID.IsZero() {
		return me.KeyID.String()
	}
	return caller(ctx).Subject
}

// erase creates an erasure in the transaction of a change.
func (s *server) erase(ctx context.Context, request func(u *unit) (erasure.Erasure, error)) (*body[erasure.Erasure], error) {
	var e erasure.Erasure
	err := s.change(ctx, func(u *unit) error {
		if err := tenancy.Lock(ctx, u, tenant(ctx)); err != nil {
			return err
		}
		n, err := erasure.CountUnfinished(ctx, u, tenant(ctx))
		if err != nil {
			return err
		}
		if n >= erasure.MaxUnfinished {
			return problem(http.StatusConflict, "this tenant has %d erasures that have not ended, which is the limit", n)
		}
		if e, err = request(u); err != nil {
			return err
		}
		u.became(e) // not the request: it has an address
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reply(e), nil
}

func (s *server) createErasure(ctx context.Context, in *createErasureInput) (*body[erasure.Erasure], error) {
	return s.erase(ctx, func(u *unit) (erasure.Erasure, error) {
		return erasure.OfAddress(ctx, u, tenant(ctx), string(in.Body.Address), actor(ctx))
	})
}

func (s *server) deleteMessage(ctx context.Context, in *messagePath) (*body[erasure.Erasure], error) {
	return s.erase(ctx, func(u *unit) (erasure.Erasure, error) {
		_, err := mailbox.GetMessage(ctx, u, tenant(ctx), in.ID)
		if errors.Is(err, pgx.ErrNoRows) {
			// Its events may be kept longer than the mail.
			var named []events.Record
			named, _, err = outbox.ListLog(ctx, u, tenant(ctx), outbox.LogFilter{MessageID: in.ID.String()}, subscribers.Place{}, 1)
			if err == nil && len(named) == 0 {
				err = subscribers.ErrNotFound
			}
		}
		if err != nil {
			return erasure.Erasure{}, fmt.Errorf("look for the message to erase: %w", err)
		}
		return erasure.OfMessage(ctx, u, tenant(ctx), in.ID, actor(ctx))
	})
}

func (s *server) listErasures(ctx context.Context, in *listErasuresInput) (*body[list[erasure.Erasure]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	of, err := listed(ctx, in.TenantID)
	if err != nil {
		return nil, err
	}
	found, err := erasure.List(ctx, s.pool, of, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(e erasure.Erasure) (time.Time, [16]byte) { return e.RequestedAt, e.ID }
	return page(&in.Paging, found, place, func(e erasure.Erasure) erasure.Erasure { return e }), nil
}

func (s *server) getErasure(ctx context.Context, in *erasurePath) (*body[erasure.Erasure], error) {
	e, err := erasure.Get(ctx, s.pool, tenant(ctx), in.ID)
	if err != nil {
		return nil, err
	}
	return reply(e), nil
}

type deleteTenantInput struct {
	ID    events.TenantID `path:"id"`
	Grace lifetime        `query:"grace" example:"24h" doc:"The time until the erasure begins, from 1m to 720h. Defaults to 168h, which is 7 days."`
}

func (s *server) deleteTenant(ctx context.Context, in *deleteTenantInput) (*body[erasure.Erasure], error) {
	if err := operatorOf(ctx, in.ID); err != nil {
		return nil, err
	}
	grace, err := in.Grace.duration("query.grace")
	if err != nil {
		return nil, err
	}
	if in.Grace == "" {
		grace = erasure.Grace
	}
	if grace < erasure.ShortestGrace || grace > erasure.LongestGrace {
		return nil, fault("query.grace", "must be from 1m to %.0fh", erasure.LongestGrace.Hours())
	}
	var e erasure.Erasure
	err = s.change(ctx, func(u *unit) error {
		if err := tenancy.Lock(ctx, u, in.ID); err != nil {
			return err
		}
		before, err := tenancy.Get(ctx, u, in.ID)
		if err != nil {
			return err
		}
		if before.DeletedAt != nil {
			return problem(http.StatusConflict, "the tenant was deleted already, at %s", before.DeletedAt.Format(time.RFC3339))
		}
		u.was(before)
		if _, err := tenancy.Delete(ctx, u, in.ID); err != nil {
			return err
		}
		if err := mailbox.Suspend(ctx, u, in.ID, true); err != nil {
			return err
		}
		if err := outbox.Close(ctx, u, in.ID); err != nil {
			return err
		}
		e, err = erasure.OfTenant(ctx, u, in.ID, grace, actor(ctx))
		u.became(e)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(e), nil
}

// notRestored says why a tenant is not restored: it is not deleted, or its grace period is over.
func notRestored(ctx context.Context, u *unit, tenant events.TenantID) error {
	e, err := erasure.OfTenantNow(ctx, u, tenant)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem(http.StatusConflict, "the tenant is not deleted")
	}
	if err != nil {
		return err
	}
	return problem(http.StatusConflict, "the tenant can't be restored: its grace period was over at %s", e.DueAt.Format(time.RFC3339))
}

func (s *server) restoreTenant(ctx context.Context, in *tenantPath) (*body[tenancy.Tenant], error) {
	if err := operatorOf(ctx, in.ID); err != nil {
		return nil, err
	}
	var t tenancy.Tenant
	err := s.change(ctx, func(u *unit) error {
		if err := tenancy.Lock(ctx, u, in.ID); err != nil {
			return err
		}
		cancelled, err := erasure.Cancel(ctx, u, in.ID)
		if err != nil {
			return err
		}
		if !cancelled {
			return notRestored(ctx, u, in.ID)
		}
		if err := mailbox.Suspend(ctx, u, in.ID, false); err != nil {
			return err
		}
		if err := outbox.Reopen(ctx, u, in.ID); err != nil {
			return err
		}
		t, err = tenancy.Restore(ctx, u, in.ID)
		u.became(t)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(t), nil
}
