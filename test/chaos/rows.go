package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

const selectRows = `
SELECT id, event_id, webhook_id, seq, status, attempts, max_attempts, coalesce(finished_at, 'epoch'), coalesce(next_retry_at, 'epoch'), coalesce(last_error, '')
FROM fanmail.webhook_subscriber_deliveries`

// rows reads delivery rows from the table.
func (r *rig) rows(ctx context.Context, where string) ([]*history.Row, error) {
	found, err := r.pool.Query(ctx, selectRows+where)
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	at := r.now()
	return pgx.CollectRows(found, func(row pgx.CollectableRow) (*history.Row, error) {
		var (
			id            events.DeliveryID
			event         events.ID
			hook          events.WebhookID
			finished, due time.Time
			h             = history.Row{At: at}
		)
		err := row.Scan(&id, &event, &hook, &h.Seq, &h.Status, &h.Attempts, &h.Max, &finished, &due, &h.Error)
		h.Delivery, h.Event, h.Hook = id.String(), event.String(), hook.String()
		h.Finished, h.Due = max(finished.UnixMicro(), 0), max(due.UnixMicro(), 0)
		return &h, err
	})
}

// watch records rows when they become final, and final rows that change, until ctx ends.
func (r *rig) watch(ctx context.Context) {
	type state struct {
		status   string
		attempts int
		finished int64
	}
	known := map[string]state{}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		look, cancel := context.WithTimeout(ctx, 5*time.Second)
		found, err := r.rows(look, ` WHERE finished_at > now() - interval '20 seconds'`)
		cancel()
		if err != nil {
			continue // the database is away, which is one of the faults
		}
		for _, h := range found {
			if now := (state{h.Status, h.Attempts, h.Finished}); known[h.Delivery] != now {
				known[h.Delivery] = now
				r.history.Append(history.Record{Kind: history.KindSeen, Row: h})
			}
		}
	}
}

// await waits until no message is left to take in and only deliveries with a late attempt are pending.
// After the patience it returns; the checker reports what is left.
func (r *rig) await(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	told := time.Now()
	for {
		var outbox, pending int
		err := r.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM fanmail.outbox), (SELECT count(*) FROM fanmail.webhook_subscriber_deliveries
			WHERE status = 'pending' AND NOT (attempts >= 3 AND next_retry_at > now() + interval '5 minutes'))`).Scan(&outbox, &pending)
		if err == nil && outbox+pending == 0 {
			// An ingest may have died with a message, which the broker sends again a minute after the
			// first time.
			var untaken uint64
			if untaken, err = r.untaken(ctx); err == nil && untaken == 0 {
				return
			}
			outbox = int(untaken) //nolint:gosec // few
		}
		if time.Since(told) > 10*time.Second {
			told = time.Now()
			r.say("waiting for %d events and %d deliveries", outbox, pending)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// untaken returns how many messages and raw mails of the broker are not taken in.
func (r *rig) untaken(ctx context.Context) (n uint64, err error) {
	js, err := jetstream.New(r.broker)
	if err != nil {
		return 0, fmt.Errorf("read the consumers of the intake: %w", err)
	}
	for s, consumer := range map[string]string{stream.Intake: stream.IntakeConsumer, stream.Raw: stream.RawConsumer} {
		c, err := js.Consumer(ctx, s, consumer)
		if err != nil {
			return 0, fmt.Errorf("read the consumers of the intake: %w", err)
		}
		info := c.CachedInfo()
		n += info.NumPending + uint64(info.NumAckPending) //nolint:gosec // not negative
	}
	return n, nil
}

// finish records what is left in the tables.
func (r *rig) finish(ctx context.Context, healed int64) error {
	left := 0
	if err := r.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.outbox`).Scan(&left); err != nil {
		return fmt.Errorf("read the outbox: %w", err)
	}
	found, err := r.rows(ctx, "")
	if err != nil {
		return err
	}
	for _, h := range found {
		r.history.Append(history.Record{Kind: history.KindRow, Row: h})
	}
	r.history.Append(history.Record{Kind: history.KindEnd, End: &history.End{At: r.now(), Healed: healed, Outbox: left}})
	return nil
}
