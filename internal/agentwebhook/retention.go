package agentwebhook

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Retain ends the deliveries whose 48 hours are over: a pending one becomes
// failed with the reason "expired", and a day past that its partition is
// dropped, so that what became of it can be seen for a day. One caller at a
// time is enough; more do no harm.
func (d *Deliverer) Retain(ctx context.Context) error {
	for {
		// In pieces, so that no transaction holds many rows for long. The
		// bound on created_at prunes partitions.
		tag, err := d.pool.Exec(ctx, `
UPDATE fanmail.webhook_deliveries AS d SET status = 'failed', last_error = 'expired', finished_at = now(), next_retry_at = NULL
FROM (SELECT message_id, created_at FROM fanmail.webhook_deliveries
      WHERE status = 'pending' AND created_at <= now() - make_interval(secs => $1) AND expires_at <= now() LIMIT 5000 FOR UPDATE SKIP LOCKED) AS old
WHERE d.message_id = old.message_id AND d.created_at = old.created_at`, DeliveryTTL.Seconds())
		if err != nil {
			return fmt.Errorf("expire deliveries to agents: %w", err)
		}
		n := tag.RowsAffected()
		if n == 0 {
			break
		}
		d.metrics.ended.WithLabelValues("expired").Add(float64(n))
		d.log.Warn("deliveries to agents' own webhooks expired", zap.Int64("deliveries", n))
	}
	_, err := pg.DropDays(ctx, d.pool, "webhook_deliveries", DeliveryTTL, nil)
	return err
}
