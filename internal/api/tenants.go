package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxNameBytes bounds the names of tenants and keys.
const maxNameBytes = 200

// Tenant is the account that owns agents, webhooks and keys.
type Tenant struct {
	ID        events.TenantID `json:"id" example:"ten_0123456789abcdef0123456789abcdef"`
	Name      string          `json:"name"`
	Operator  bool            `json:"operator" doc:"Its webhooks get the operational events of all tenants."`
	CreatedAt time.Time       `json:"created_at"`
}

// NewTenant says what a tenant is to be.
type NewTenant struct {
	Name     string
	Operator bool // it is told of every tenant's webhooks and deliveries
}

// CreateTenant makes a tenant. A bad name is an [*events.FieldError].
func CreateTenant(ctx context.Context, db subscribers.DB, n NewTenant) (Tenant, error) {
	if strings.TrimSpace(n.Name) == "" {
		return Tenant{}, &events.FieldError{Field: "name", Reason: "is required"}
	}
	if err := checkName(n.Name); err != nil {
		return Tenant{}, err
	}
	t := Tenant{ID: events.NewRandom[events.TenantKind](), Name: n.Name, Operator: n.Operator}
	err := db.QueryRow(ctx, `INSERT INTO fanmail.tenants (id, name, operator) VALUES ($1, $2, $3) RETURNING created_at`, t.ID, n.Name, n.Operator).Scan(&t.CreatedAt)
	if err != nil {
		return Tenant{}, fmt.Errorf("insert a tenant: %w", err)
	}
	t.CreatedAt = t.CreatedAt.UTC()
	return t, nil
}

func checkName(name string) error {
	if len(name) > maxNameBytes {
		return &events.FieldError{Field: "name", Reason: fmt.Sprintf("has %d bytes; the limit is %d", len(name), maxNameBytes)}
	}
	if strings.ContainsFunc(name, unicode.IsControl) {
		return &events.FieldError{Field: "name", Reason: "holds a control character"}
	}
	return nil
}

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
	) (*body[Tenant], error) {
		var t Tenant
		err := s.change(ctx, func(u *unit) (err error) {
			t, err = CreateTenant(ctx, u, NewTenant{Name: in.Body.Name, Operator: in.Body.Operator})
			return err
		})
		if err != nil {
			return nil, err
		}
		return reply(t), nil
	})
	register(s, operators, huma.Operation{
		OperationID: "list-tenants", Method: http.MethodGet, Path: "/v1/tenants", Summary: "List all tenants",
	}, func(ctx context.Context, in *struct{ Paging }) (*body[list[Tenant]], error) {
		after, err := in.after()
		if err != nil {
			return nil, err
		}
		at, id := after.Bound()
		rows, err := s.pool.Query(ctx, `SELECT id, name, operator, created_at FROM fanmail.tenants WHERE (created_at, id) < ($1, $2)
			ORDER BY created_at DESC, id DESC LIMIT $3`, at, id, in.Limit+1)
		if err != nil {
			return nil, fmt.Errorf("list tenants: %w", err)
		}
		found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t Tenant, err error) {
			err = row.Scan(&t.ID, &t.Name, &t.Operator, &t.CreatedAt)
			t.CreatedAt = t.CreatedAt.UTC()
			return t, err
		})
		if err != nil {
			return nil, fmt.Errorf("list tenants: %w", err)
		}
		return page(&in.Paging, found, func(t Tenant) (time.Time, [16]byte) { return t.CreatedAt, t.ID },
			func(t Tenant) Tenant { return t }), nil
	})
}
