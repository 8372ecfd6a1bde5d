package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

type createTenantInput struct {
	Body struct {
		Name     storedText `json:"name" doc:"At most 200 bytes."`
		Operator bool       `json:"operator,omitempty" doc:"The tenant's webhooks get the operational events of all tenants. Give its keys to operators only."`
	} `nameHint:"TenantSettings"`
}

func (s *server) tenantRoutes() {
	register(s, operators, huma.Operation{
		OperationID: "create-tenant", Method: http.MethodPost, Path: "/v1/tenants", DefaultStatus: http.StatusCreated,
		Summary: "Create a tenant",
	}, s.createTenant)
	register(s, operators, huma.Operation{
		OperationID: "list-tenants", Method: http.MethodGet, Path: "/v1/tenants", Summary: "List all tenants",
		Description: "Newest first; with `name`, by name.",
	}, s.listTenants)
	register(s, anybody, huma.Operation{
		OperationID: "get-tenant", Method: http.MethodGet, Path: "/v1/tenants/{id}", Summary: "Read a tenant",
		Description: "A tenant's key reads its own tenant.",
	}, func(ctx context.Context, in *tenantPath) (*body[tenancy.Tenant], error) {
		if err := visible(ctx, in.ID); err != nil {
			return nil, err
		}
		t, err := tenancy.Get(ctx, s.pool, in.ID)
		if err != nil {
			return nil, err
		}
		return reply(t), nil
	})
	register(s, anybody, huma.Operation{
		OperationID: "change-tenant", Method: http.MethodPatch, Path: "/v1/tenants/{id}", Summary: "Change a tenant",
		Description: "`alert_addresses` get a mail when a webhook of the tenant fails for an hour, is disabled or recovers, at most one a day about each webhook. " +
			"An operator's key sets any, and vouches for them. A tenant's key may only take its own tenant's addresses away.",
	}, s.changeTenant)
}

func (s *server) createTenant(ctx context.Context, in *createTenantInput) (*body[tenancy.Tenant], error) {
	var t tenancy.Tenant
	err := s.change(ctx, func(u *unit) (err error) {
		t, err = tenancy.Create(ctx, u, tenancy.NewTenant{Name: string(in.Body.Name), Operator: in.Body.Operator})
		u.became(t)
		u.of = t.ID
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(t), nil
}

type changeTenantInput struct {
	ID   events.TenantID `path:"id"`
	Body struct {
		AlertAddresses optional[[]storedText] `json:"alert_addresses,omitempty" nullable:"true" doc:"At most 5 plain addresses; null or an empty list for none."`
	} `nameHint:"TenantChange"`
}

func (s *server) changeTenant(ctx context.Context, in *changeTenantInput) (*body[tenancy.Tenant], error) {
	if err := visible(ctx, in.ID); err != nil {
		return nil, err
	}
	var t tenancy.Tenant
	err := s.change(ctx, func(u *unit) (err error) {
		if err := tenancy.Lock(ctx, u, in.ID); err != nil {
			return err
		}
		if t, err = tenancy.Get(ctx, u, in.ID); err != nil {
			return err
		}
		u.was(t)
		if change := in.Body.AlertAddresses; change.Set {
			if t, err = setAlertAddresses(ctx, u, t, change.value); err != nil {
				return err
			}
		}
		u.became(t)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return reply(t), nil
}

// setAlertAddresses replaces a tenant's alert addresses. Fanmail must not send mail to
// whomever a tenant names, so only operators add one.
func setAlertAddresses(ctx context.Context, u *unit, t tenancy.Tenant, to *[]storedText) (tenancy.Tenant, error) {
	var given []string
	if to != nil {
		for _, a := range *to {
			given = append(given, string(a))
		}
	}
	addresses, err := tenancy.CheckAlertAddresses(given)
	if err != nil {
		return t, err
	}
	if !caller(ctx).Operator() {
		for _, a := range addresses {
			if !slices.Contains(t.AlertAddresses, a) {
				return t, problem(http.StatusForbidden, "only an operator's key adds alert addresses; a tenant's key may take some away")
			}
		}
	}
	return tenancy.SetAlertAddresses(ctx, u, t.ID, addresses)
}

type listTenantsInput struct {
	Paging
	Name storedText `query:"name" maxLength:"200" doc:"Only tenants whose name begins with this; upper and lower case of Latin letters without accents are equal."`
}

func (s *server) listTenants(ctx context.Context, in *listTenantsInput) (*body[list[tenancy.Tenant]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	var found []tenancy.Tenant
	if in.Name != "" {
		found, err = tenancy.Search(ctx, s.pool, string(in.Name), after.ID, in.Limit+1)
	} else {
		found, err = tenancy.List(ctx, s.pool, position(after), in.Limit+1)
	}
	if err != nil {
		return nil, err
	}
	place := func(t tenancy.Tenant) (time.Time, [16]byte) { return t.CreatedAt, t.ID }
	return page(&in.Paging, found, place, func(t tenancy.Tenant) tenancy.Tenant { return t }), nil
}

// position converts a place of a list for package tenancy.
func position(p subscribers.Place) tenancy.Position {
	at, id := p.Bound()
	return tenancy.Position{CreatedAt: at, ID: id}
}
