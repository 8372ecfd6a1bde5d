package agentwebhook

import (
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/retention"
)

// The condition on created_at prunes partitions.
const expirePending = `
UPDATE fanmail.webhook_deliveries AS d SET status = 'failed', last_error = 'expired', finished_at = now(), next_retry_at = NULL, leased = false
FROM (SELECT message_id, created_at FROM fanmail.webhook_deliveries
      WHERE status = 'pending' AND created_at <= now() - make_interval(secs => $1) AND expires_at <= now() LIMIT 5000 FOR UPDATE SKIP LOCKED) AS old
WHERE d.message_id = old.message_id AND d.created_at = old.created_at`

// RetentionRules are the rules for webhook_deliveries. A delivery that is pending after
// [DeliveryTTL] fails with the error "expired". It can be read for a day before its
// partition is dropped.
func (d *Deliverer) RetentionRules() []retention.Rule {
	return []retention.Rule{
		retention.Rows("expire pending deliveries to agents", expirePending, DeliveryTTL.Seconds()).Counted(func(n int64) {
			d.metrics.ended.WithLabelValues("expired").Add(float64(n))
			d.log.Warn("deliveries to agents' own webhooks expired", zap.Int64("deliveries", n))
		}),
		retention.Days("webhook_deliveries", DeliveryTTL, nil),
	}
}
