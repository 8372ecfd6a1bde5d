package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func (s *server) tenantRoutes() {
	register(s, operators, huma.Operation{
		OperationID: "create-tenant", Method: http.MethodPost, Path: "/v1/tenants", DefaultStatus: http.StatusCreated,
		Summary: "Make a tenant",
	}, func(ctx context.Context, in *struct {
		Body struct {
			Name     string `json:"name" doc:"At most 200 bytes."`
			Operator bool   `json:"operator,omitempty" doc:"Its webhooks get webhook.disabled, webhook.recovered and delivery.exhausted of all tenants. Give its keys to operators alone."`
		} `nameHint:"TenantSettings"`
	},
	) (*body[tenancy.Tenant], error) {
		var t tenancy.Tenant
		err := s.change(ctx, func(u *unit) (err error) {
			t, err = tenancy.Create(ctx, u, tenancy.NewTenant{Name: in.Body.Name, Operator: in.Body.Operator})
			return err
		})
		if err != nil {
			return nil, err
		}
		return reply(t), nil
	})
	register(s, operators, huma.Operation{
		OperationID: "list-tenants", Method: http.MethodGet, Path: "/v1/tenants", Summary: "List all tenants",
	}, func(ctx context.Context, in *struct{ Paging }) (*body[list[tenancy.Tenant]], error) {
		after, err := in.after()
		if err != nil {
			return nil, err
		}
		found, err := tenancy.List(ctx, s.pool, position(after), in.Limit+1)
		if err != nil {
			return nil, err
		}
		return page(&in.Paging, found, func(t tenancy.Tenant) (time.Time, [16]byte) { return t.CreatedAt, t.ID },
			func(t tenancy.Tenant) tenancy.Tenant { return t }), nil
	})
}

// position is a place in a list as package tenancy takes it.
func position(p subscribers.Place) tenancy.Position {
	at, id := p.Bound()
	return tenancy.Position{CreatedAt: at, ID: id}
}
