package agentwebhook

import (
	"context"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Erase deletes the deliveries of messages of a tenant, and returns how many there were. created are the messages' times.
func Erase(ctx context.Context, tx pg.DB, tenant events.TenantID, ids []events.MessageID, created []time.Time) (int64, error) {
	tag, err := tx.Exec(ctx, `DELETE FROM fanmail.webhook_deliveries AS d USING unnest($2::uuid[], $3::timestamptz[]) AS m (id, created_at)
		WHERE d.message_id = m.id AND d.created_at = m.created_at AND d.tenant_id = $1`, tenant, ids, created)
	if err != nil {
		return 0, fmt.Errorf("erase deliveries to agents' own webhooks: %w", err)
	}
	return tag.RowsAffected(), nil
}

// TenantRows are a tenant's deliveries to agents' own webhooks.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{pg.DeleteOfTenant("fanmail.webhook_deliveries", "message_id", "created_at")}
}
