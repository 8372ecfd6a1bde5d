package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// newKey is a key in the only response that shows its secret.
type newKey struct {
	tenancy.Key
	Secret string `json:"secret" doc:"Shown only here."`
}

type createKeyInput struct {
	Body struct {
		TenantID events.TenantID `json:"tenant_id,omitempty" pattern:"^ten_[0-9a-fA-F]{32}$"`
		Name     storedText      `json:"name,omitempty" doc:"At most 200 bytes."`
		Scopes   []string        `json:"scopes,omitempty" enum:"read,write" maxItems:"16" doc:"Defaults to all scopes."`
		// The maximum is [tenancy.MaxRateLimit].
		RateLimit int `json:"rate_limit,omitempty" minimum:"1" maximum:"100000" doc:"Requests a second. Defaults to the server's limit."`
	} `nameHint:"KeySettings"`
}

type keyQuery struct {
	Paging
	TenantID events.TenantID `query:"tenant_id" doc:"Only keys of this tenant (for operators)."`
}

type keyPath struct {
	ID events.APIKeyID `path:"id"`
}

func (s *server) keyRoutes() {
	register(s, anybody, huma.Operation{
		OperationID: "create-key", Method: http.MethodPost, Path: "/v1/keys", DefaultStatus: http.StatusCreated,
		Summary: "Create a key",
		Description: "A tenant's key creates keys of its own tenant. An operator's key creates keys of any tenant or, without `tenant_id`, of operators. " +
			"No key creates a key with a scope that it does not have itself. A key with a rate limit of its own creates no keys.",
	}, s.createKey)
	register(s, anybody, huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: "/v1/keys", Summary: "List the keys that are not revoked",
		Description: "A tenant's key lists the keys of its tenant. An operator's key lists all keys, or those of `tenant_id`.",
	}, s.listKeys)
	register(s, anybody, huma.Operation{
		OperationID: "revoke-key", Method: http.MethodDelete, Path: "/v1/keys/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Revoke a key, with immediate effect", Description: "Its open streams of events end too.",
	}, s.revokeKey)
}

func (s *server) createKey(ctx context.Context, in *createKeyInput) (*body[newKey], error) {
	me := caller(ctx)
	want := tenancy.NewKey{TenantID: in.Body.TenantID, Name: string(in.Body.Name), Scopes: in.Body.Scopes, RateLimit: in.Body.RateLimit}
	if !me.Operator() {
		if want.TenantID.IsZero() {
			want.TenantID = me.TenantID
		}
		if want.TenantID != me.TenantID {
			return nil, subscribers.ErrNotFound
		}
	}
	if len(me.Scopes) > 0 && (len(want.Scopes) == 0 || slices.ContainsFunc(want.Scopes, func(sc string) bool { return !me.May(sc) })) {
		return nil, fault("body.scopes", "must be scopes of the key that creates it")
	}
	if me.RateLimit > 0 && (want.RateLimit == 0 || want.RateLimit > me.RateLimit) {
		return nil, fault("body.rate_limit", "must be at most %d, the limit of the key that creates it", me.RateLimit)
	}
	if me.RateLimit > 0 {
		// Each key has its own count: with keys of its making, it could do more than its limit.
		return nil, problem(http.StatusForbidden, "this key has a rate limit of its own, of %d requests a second, so it creates no keys; use a key without one", me.RateLimit)
	}
	var out newKey
	err := s.create(ctx, func(u *unit) (err error) {
		if err := s.roomForKey(ctx, u, want.TenantID); err != nil {
			return err
		}
		out.Key, out.Secret, err = tenancy.CreateKey(ctx, u, want)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(out), nil
}

// roomForKey checks the quota of the key's tenant. Operators' keys have none.
func (s *server) roomForKey(ctx context.Context, u *unit, of events.TenantID) error {
	if of.IsZero() {
		return nil
	}
	set, err := tenancy.GetQuota(ctx, u, of)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // creating the key tells which field names no tenant
	}
	if err != nil {
		return err
	}
	return s.room(ctx, u, of, "keys", set.Or(s.defaultQuota()).Keys, func(ctx context.Context, u *unit) (int64, error) {
		return tenancy.CountKeys(ctx, u, of)
	})
}

func (s *server) listKeys(ctx context.Context, in *keyQuery) (*body[list[tenancy.Key]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	of := in.TenantID
	if me := caller(ctx); !me.Operator() {
		if !of.IsZero() && of != me.TenantID {
			return nil, subscribers.ErrNotFound
		}
		of = me.TenantID
	}
	found, err := tenancy.ListKeys(ctx, s.pool, of, position(after), in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(k tenancy.Key) (time.Time, [16]byte) { return k.CreatedAt, k.ID }
	return page(&in.Paging, found, place, func(k tenancy.Key) tenancy.Key { return k }), nil
}

func (s *server) revokeKey(ctx context.Context, in *keyPath) (*struct{}, error) {
	err := tenancy.RevokeKey(ctx, s.pool, caller(ctx).TenantID, in.ID)
	if errors.Is(err, tenancy.ErrNoKey) {
		return nil, subscribers.ErrNotFound
	}
	if err == nil {
		s.tellRevoked(in.ID)
	}
	return nil, err
}
