package subscribers

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
)

// maxNaming is how many webhooks are looked up that name a type.
const maxNaming = 1000

const (
	namingOfTenant = `SELECT id, tenant_id FROM fanmail.webhooks WHERE tenant_id = $1 AND deleted_at IS NULL AND $2 = ANY (events)
		ORDER BY created_at DESC, id DESC LIMIT $3`
	namingOfAll = `SELECT id, tenant_id FROM fanmail.webhooks WHERE deleted_at IS NULL AND $1 = ANY (events) LIMIT $2`
)

// TypeInUseError means that webhooks name an event type in their events.
type TypeInUseError struct {
	// Webhooks are up to 1000 of them.
	Webhooks []events.WebhookID
}

// maxShown is how many webhooks [TypeInUseError.Error] names.
const maxShown = 10

// Error names some of the webhooks.
func (e *TypeInUseError) Error() string {
	shown := make([]string, 0, maxShown)
	for _, id := range e.Webhooks[:min(len(e.Webhooks), maxShown)] {
		shown = append(shown, id.String())
	}
	more := ""
	if n := len(e.Webhooks) - maxShown; n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return "webhooks name the type in their events: " + strings.Join(shown, ", ") + more + "; change them first, or mark the type as deprecated"
}

// DeleteEventType deletes an own type of a tenant; the zero tenant means the operator. It returns a [*TypeInUseError] if
// webhooks name the type; patterns that select it don't count. It returns [ErrNotFound] if there is no such type.
func (s *Store) DeleteEventType(ctx context.Context, tenant events.TenantID, t events.Type) error {
	return pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		// The lock makes webhooks that would name it wait.
		_, err := eventtype.Lock(ctx, tx, tenant, t)
		if errors.Is(err, eventtype.ErrNotFound) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		naming, err := s.In(tx).naming(ctx, tenant, t)
		if err != nil {
			return err
		}
		if len(naming) > 0 {
			return &TypeInUseError{naming}
		}
		return eventtype.Delete(ctx, tx, tenant, t)
	})
}

// naming returns webhooks whose events name an own type of a tenant. The zero tenant means a type of the operator's: all
// webhooks are read, and those of a tenant that has a type of the name don't count.
func (s *Store) naming(ctx context.Context, tenant events.TenantID, t events.Type) ([]events.WebhookID, error) {
	statement, args := namingOfTenant, []any{tenant, t, maxNaming}
	if tenant.IsZero() {
		statement, args = namingOfAll, []any{t, maxNaming}
	}
	rows, err := s.db.Query(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("find the webhooks that name a type: %w", err)
	}
	var ids []events.WebhookID
	var tenants []events.TenantID
	var id events.WebhookID
	var of events.TenantID
	if _, err := pgx.ForEachRow(rows, []any{&id, &of}, func() error { ids, tenants = append(ids, id), append(tenants, of); return nil }); err != nil {
		return nil, fmt.Errorf("find the webhooks that name a type: %w", err)
	}
	if !tenant.IsZero() || len(ids) == 0 {
		return ids, nil
	}
	own, err := eventtype.WithOwn(ctx, s.db, tenants, t)
	if err != nil {
		return nil, err
	}
	left := ids[:0]
	for i := range ids {
		if !own[tenants[i]] {
			left = append(left, ids[i])
		}
	}
	return left, nil
}
