package replay

import (
	"context"
	"fmt"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Blank takes what the unfinished replays of a tenant have noted of events out of their rows. The rows stay: the replay
// counts each, and its delivery ends as failed without an event.
func Blank(ctx context.Context, tx pg.DB, tenant events.TenantID, ids []events.ID) error {
	_, err := tx.Exec(ctx, `UPDATE fanmail.replay_deliveries SET message_id = NULL
		WHERE replay_id = ANY (ARRAY(SELECT id FROM fanmail.replays WHERE tenant_id = $1 AND finished_at IS NULL)) AND event_id = ANY ($2::uuid[]) AND message_id IS NOT NULL`,
		tenant, ids)
	if err != nil {
		return fmt.Errorf("erase what replays have noted: %w", err)
	}
	return nil
}

// TenantRows are a tenant's replays, and what they have noted.
func TenantRows() []pg.TenantRows {
	return []pg.TenantRows{
		pg.DeleteWhere("fanmail.replay_deliveries", `replay_id = ANY (ARRAY(SELECT id FROM fanmail.replays WHERE tenant_id = $1))`, "replay_id", "webhook_id", "seq"),
		{Table: "replays", Statement: `DELETE FROM fanmail.replays AS r USING (SELECT id FROM fanmail.replays WHERE tenant_id = $1 LIMIT $2) AS old
			WHERE r.id = old.id AND NOT EXISTS (SELECT 1 FROM fanmail.replay_deliveries AS d WHERE d.replay_id = r.id)`},
	}
}
