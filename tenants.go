package fanmail

import (
	"context"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// Tenant is an account that owns webhooks and agents.
type Tenant struct {
	ID        TenantID
	Name      string
	CreatedAt time.Time
}

// CreateTenant creates a tenant. The name is for people: at most 200 bytes, not
// empty. A bad name is a [*FieldError].
func (c *Client) CreateTenant(ctx context.Context, name string) (Tenant, error) {
	if err := c.ready(); err != nil {
		return Tenant{}, err
	}
	t, err := tenancy.Create(ctx, c.db, tenancy.NewTenant{Name: name})
	return Tenant{ID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt}, err
}

// ListTenants returns up to limit tenants after a cursor, newest first, and the
// cursor of the next page.
func (c *Client) ListTenants(ctx context.Context, after Cursor, limit int) ([]Tenant, Cursor, error) {
	if err := c.ready(); err != nil {
		return nil, Cursor{}, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, Cursor{}, err
	}
	at, id := after.Bound()
	found, err := tenancy.List(ctx, c.db, tenancy.Position{CreatedAt: at, ID: id}, limit+1)
	if err != nil {
		return nil, Cursor{}, err
	}
	found, next := cut(found, limit, func(t tenancy.Tenant) Cursor { return Cursor{CreatedAt: t.CreatedAt, ID: t.ID} })
	out := make([]Tenant, len(found))
	for i, t := range found {
		out[i] = Tenant{ID: t.ID, Name: t.Name, CreatedAt: t.CreatedAt}
	}
	return out, next, nil
}

// MaxList is the most rows that one call of a list returns.
const MaxList = 10_000

// checkLimit returns a [*FieldError] for a limit that is not from 1 to [MaxList].
func checkLimit(limit int) error {
	if limit < 1 || limit > MaxList {
		return &FieldError{Field: "limit", Reason: fmt.Sprintf("is %d; it must be from 1 to %d", limit, MaxList)}
	}
	return nil
}

// cut shortens a list that was read with one row more than asked for, and returns
// the cursor of the next page.
func cut[T any](rows []T, limit int, place func(T) Cursor) ([]T, Cursor) {
	if len(rows) <= limit {
		return rows, Cursor{}
	}
	return rows[:limit], place(rows[limit-1])
}
