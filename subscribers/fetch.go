package subscribers

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
)

// FetchRequest asks for due rows of one webhook: at most Room, or, if Strict, the
// one whose turn it is.
type FetchRequest struct {
	WebhookID events.WebhookID
	TenantID  events.TenantID // of the webhook; needed if Strict
	Room      int
	Strict    bool
}

const leaseTail = `
UPDATE fanmail.webhook_subscriber_deliveries AS d SET next_retry_at = now() + make_interval(secs => $1), leased = true
FROM due WHERE d.id = due.id AND d.created_at = due.created_at
RETURNING d.id, d.created_at, d.webhook_id, d.event_id, d.event_created_at, d.seq, d.attempts, d.max_attempts, d.kind = 'replay', d.next_retry_at, due.leased`

// Each webhook's earliest due rows, by the partial index: at most room rows of a
// webhook are read.
const fetchDueRows = `
WITH due AS MATERIALIZED (
	SELECT d.id, d.created_at, d.leased
	FROM unnest($2::uuid[], $3::integer[]) AS w (webhook_id, room)
	CROSS JOIN LATERAL (
		SELECT id, created_at, leased FROM fanmail.webhook_subscriber_deliveries
		WHERE webhook_id = w.webhook_id AND status = 'pending' AND NOT strict AND next_retry_at <= now()
		ORDER BY next_retry_at LIMIT w.room
		FOR UPDATE SKIP LOCKED
	) AS d
)` + leaseTail

// The earliest pending row of each webhook: due already, or the time to come back.
const earliestPending = `
SELECT w.webhook_id, (
	SELECT next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.webhook_id AND status = 'pending' AND NOT strict ORDER BY next_retry_at LIMIT 1)
FROM unnest($1::uuid[]) AS w (webhook_id)`

// In strict order it is the turn of the pending row with the lowest sequence, if
// that row is due and no earlier event of the tenant waits to be fanned out: such
// an event may be for the same webhook. The horizon was read from the outbox
// before this statement began. An event up to the horizon has no predecessor that
// was not fanned out by then, and the rows of those that were are visible here.
const fetchHead = `
WITH due AS MATERIALIZED (
	SELECT d.id, d.created_at, d.leased
	FROM unnest($2::uuid[], $3::bigint[]) AS w (webhook_id, horizon)
	CROSS JOIN LATERAL (` + strictHead + `) AS h
	JOIN fanmail.webhook_subscriber_deliveries AS d ON d.id = h.id AND d.created_at = h.created_at
	WHERE d.status = 'pending' AND d.next_retry_at <= now() AND h.seq <= w.horizon
	FOR UPDATE OF d SKIP LOCKED
)` + leaseTail

const strictHead = `
	SELECT id, created_at, seq, next_retry_at FROM fanmail.webhook_subscriber_deliveries
	WHERE webhook_id = w.webhook_id AND status = 'pending' AND strict
	ORDER BY seq, created_at LIMIT 1`

const strictHeads = `
SELECT w.webhook_id, h.next_retry_at FROM unnest($1::uuid[]) AS w (webhook_id) LEFT JOIN LATERAL (` + strictHead + `) AS h ON true`

// FetchDue leases due rows of the webhooks for [LeaseDuration], those in strict
// order for [FirstLease]; two callers never get the same row. It also returns for
// each webhook when to fetch again, in Unix microseconds: the earliest
// next_retry_at that is left, leases included, or that of the head of a strict
// webhook; 0 if nothing is pending. Rows are in the order of their creation.
func FetchDue(ctx context.Context, pool *pgxpool.Pool, requests []FetchRequest) ([]Leased, map[events.WebhookID]int64, error) {
	f := fetch{next: make(map[events.WebhookID]int64, len(requests))}
	var plain, strict []events.WebhookID
	var rooms []int32
	var tenants []events.TenantID
	for _, r := range requests {
		if r.Strict {
			strict, tenants = append(strict, r.WebhookID), append(tenants, r.TenantID)
			continue
		}
		plain, rooms = append(plain, r.WebhookID), append(rooms, int32(r.Room)) //nolint:gosec // small
	}
	var horizon outbox.Horizon
	b := &pgx.Batch{}
	if len(plain) > 0 {
		b.Queue(fetchDueRows, LeaseDuration.Seconds(), plain, rooms).Query(f.readLeased)
		b.Queue(earliestPending, plain).Query(f.readNext)
	}
	if len(strict) > 0 {
		outbox.QueueHorizon(b, distinct(tenants), &horizon)
	}
	if err := pool.SendBatch(ctx, b).Close(); err != nil {
		f.release(ctx, pool)
		return nil, nil, fmt.Errorf("lease due deliveries: %w", err)
	}
	if len(strict) > 0 {
		horizons := make([]int64, len(tenants))
		for i, t := range tenants {
			horizons[i] = horizon.Of(t)
		}
		b = &pgx.Batch{}
		b.Queue(fetchHead, FirstLease.Seconds(), strict, horizons).Query(f.readLeased)
		b.Queue(strictHeads, strict).Query(f.readNext)
		if err := pool.SendBatch(ctx, b).Close(); err != nil {
			f.release(ctx, pool)
			return nil, nil, fmt.Errorf("lease due deliveries of strict webhooks: %w", err)
		}
	}
	if err := f.envelopes(ctx, pool); err != nil {
		f.release(ctx, pool)
		return nil, nil, err
	}
	return f.leased, f.next, nil
}

// fetch gathers the answer of [FetchDue].
type fetch struct {
	leased []Leased
	refs   outbox.EventRefs // the event of each
	next   map[events.WebhookID]int64
}

// readLeased reads leased rows.
func (f *fetch) readLeased(rows pgx.Rows) error {
	var l Leased
	var eventCreated, lease time.Time
	_, err := pgx.ForEachRow(rows, []any{
		&l.ID, &l.CreatedAt, &l.WebhookID, &l.EventID, &eventCreated, &l.Seq, &l.Attempts, &l.MaxAttempts, &l.IsReplay, &lease, &l.Expired,
	}, func() error {
		l.Lease = lease.UnixMicro()
		f.leased = append(f.leased, l)
		f.refs.Add(l.EventID, eventCreated)
		return nil
	})
	return err
}

// readNext reads when webhooks are due next.
func (f *fetch) readNext(rows pgx.Rows) error {
	var id events.WebhookID
	var at *time.Time
	_, err := pgx.ForEachRow(rows, []any{&id, &at}, func() error {
		f.next[id] = 0
		if at != nil {
			f.next[id] = at.UnixMicro()
		}
		return nil
	})
	return err
}

// releaseTimeout bounds the release of rows that nobody gets.
const releaseTimeout = 5 * time.Second

// release gives up the leases that were taken, because their rows reach nobody. The
// context may have ended: that may be why. If it fails, they stay leased until their
// leases end.
func (f *fetch) release(ctx context.Context, db pg.DB) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	var b OutcomeBatch
	for i := range f.leased {
		b.Release = append(b.Release, Lease{Ref: f.leased[i].Ref, Lease: f.leased[i].Lease})
	}
	_, _ = WriteOutcomes(ctx, db, &b)
}

// envelopes reads the events of the leased rows and puts the rows in order. If it
// fails, release them.
func (f *fetch) envelopes(ctx context.Context, db pg.DB) error {
	found, err := outbox.Envelopes(ctx, db, f.refs)
	if err != nil {
		return err
	}
	for i := range f.leased {
		l := &f.leased[i]
		e := found[l.EventID]
		l.Envelope, l.Traceparent = e.Envelope, e.Traceparent
	}
	slices.SortStableFunc(f.leased, func(a, b Leased) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Seq, b.Seq))
	})
	return nil
}
