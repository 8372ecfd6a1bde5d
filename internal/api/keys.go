package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// newKey is a key in the one answer that shows its secret.
type newKey struct {
	tenancy.Key
	Secret string `json:"secret" doc:"Shown here and never again."`
}

func (s *server) keyRoutes() {
	register(s, anybody, huma.Operation{
		OperationID: "create-key", Method: http.MethodPost, Path: "/v1/keys", DefaultStatus: http.StatusCreated,
		Summary:     "Make a key",
		Description: "A tenant's key makes keys of its own tenant, with no scope that it lacks itself and no higher rate limit than its own. An operator's key makes keys of any tenant, or, without `tenant_id`, operators' keys.",
	}, func(ctx context.Context, in *struct {
		Body struct {
			TenantID events.TenantID `json:"tenant_id,omitempty" pattern:"^ten_[0-9a-fA-F]{32}$"`
			Name     string          `json:"name,omitempty" doc:"At most 200 bytes."`
			Scopes   []string        `json:"scopes,omitempty" enum:"read,write" maxItems:"16" doc:"None: all."`
			// 1 to MaxRateLimit.
			RateLimit int `json:"rate_limit,omitempty" minimum:"1" maximum:"100000" doc:"Requests a second; none: as many as the server allows any key."`
		} `nameHint:"KeySettings"`
	},
	) (*body[newKey], error) {
		me := caller(ctx)
		want := tenancy.NewKey{TenantID: in.Body.TenantID, Name: in.Body.Name, Scopes: in.Body.Scopes, RateLimit: in.Body.RateLimit}
		if !me.Operator() {
			if want.TenantID.IsZero() {
				want.TenantID = me.TenantID
			}
			if want.TenantID != me.TenantID {
				return nil, subscribers.ErrNotFound
			}
		}
		if len(me.Scopes) > 0 && (len(want.Scopes) == 0 || slices.ContainsFunc(want.Scopes, func(sc string) bool { return !me.May(sc) })) {
			return nil, fault("body.scopes", "must be among those of the key that makes it")
		}
		if me.RateLimit > 0 && (want.RateLimit == 0 || want.RateLimit > me.RateLimit) {
			return nil, fault("body.rate_limit", "must be at most %d, which is that of the key that makes it", me.RateLimit)
		}
		var out newKey
		err := s.change(ctx, func(u *unit) (err error) {
			out.Key, out.Secret, err = tenancy.CreateKey(ctx, u, want)
			return err
		})
		if err != nil {
			return nil, err
		}
		return reply(out), nil
	})
	register(s, anybody, huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: "/v1/keys", Summary: "List keys that have not been revoked",
		Description: "A tenant's key sees its tenant's. An operator's key sees all of them, or those of `tenant_id`.",
	}, func(ctx context.Context, in *struct {
		Paging
		TenantID events.TenantID `query:"tenant_id" doc:"For operators: this tenant's keys alone."`
	},
	) (*body[list[tenancy.Key]], error) {
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
		return page(&in.Paging, found, func(k tenancy.Key) (time.Time, [16]byte) { return k.CreatedAt, k.ID }, func(k tenancy.Key) tenancy.Key { return k }), nil
	})
	register(s, anybody, huma.Operation{
		OperationID: "revoke-key", Method: http.MethodDelete, Path: "/v1/keys/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Revoke a key, at once",
	}, func(ctx context.Context, in *struct {
		ID events.APIKeyID `path:"id"`
	},
	) (*struct{}, error) {
		err := tenancy.RevokeKey(ctx, s.pool, caller(ctx).TenantID, in.ID)
		if errors.Is(err, tenancy.ErrNoKey) {
			return nil, subscribers.ErrNotFound
		}
		if err != nil {
			return nil, err
		}
		return nil, nil //nolint:nilnil // 204
	})
}
