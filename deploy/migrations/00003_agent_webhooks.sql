-- +goose Up

-- Live deliveries that failed, by when they ended: what automatic disabling
-- counts by. A delivery that succeeds never enters it.
CREATE INDEX webhook_subscriber_deliveries_failed ON webhook_subscriber_deliveries (webhook_id, finished_at DESC)
    WHERE status = 'failed' AND kind = 'live';
