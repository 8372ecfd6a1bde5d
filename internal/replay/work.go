package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// The number of deliveries of a webhook that may wait for their first attempt is the
// number that it finishes in a second, within these bounds.
const (
	minWaiting = 16
	maxWaiting = 512
)

// The states of a row of replay_deliveries. A row in stateDeleted is to be deleted.
const (
	stateDeleted  = -1
	stateFound    = 0
	stateEnqueued = 1
	stateTried    = 2
)

// shared is what all replays of a process share.
type shared struct {
	pool     *pgxpool.Pool
	nc       *nats.Conn          // nil: lanes are not woken
	js       jetstream.JetStream // nil: all events are read from the table
	registry *subscribers.Registry
	limiter  *rate.Limiter // of the deliveries enqueued
	skew     time.Duration // between the clocks of broker and database, at most
	metrics  *metrics
}

// target is a webhook of a replay.
type target struct {
	rows    [3]int // of replay_deliveries, by state
	strict  bool
	pace    float64   // deliveries that left stateEnqueued per second, smoothed
	movedAt time.Time // when a delivery last entered or left stateEnqueued
}

// maxEnqueued is how many rows of the webhook may be in stateEnqueued.
func (t *target) maxEnqueued() int { return max(minWaiting, min(maxWaiting, int(t.pace))) }

// attemptedCursor is the position of the search among the rows in stateTried.
type attemptedCursor struct {
	at      time.Time // of the last search
	webhook events.WebhookID
	seq     int64
}

// tableCount is the progress of phaseCheck. It is not stored: another process starts
// from zero.
type tableCount struct {
	events int64
	last   *events.Record // the last event counted; nil: none
}

// work is a claimed replay and what the process keeps in memory about it. Everything
// can be read from the tables again.
type work struct {
	*shared
	claim
	log *zap.Logger

	ref      subscribers.ReplayRef
	request  Request
	state    State
	cursor   cursor
	finished bool

	targets   map[events.WebhookID]*target
	order     []events.WebhookID // the webhook that goes first is rotated
	pacedAt   time.Time          // when paces were last updated
	attempted attemptedCursor

	endedAt time.Time // the database's time when ended deliveries were last searched

	faults  int // consecutive failures of the broker
	counted tableCount
}

// load reads a claimed replay. It returns errLost if the claim no longer holds.
func (s *shared) load(ctx context.Context, c claim, log *zap.Logger) (*work, error) {
	// Refresh the registry: it must know webhooks that were created a moment ago.
	if err := s.registry.Load(ctx); err != nil {
		return nil, err
	}
	w := &work{shared: s, claim: c, log: log, targets: map[events.WebhookID]*target{}}
	q, p := &w.request, &w.cursor
	err := s.pool.QueryRow(ctx, `SELECT tenant_id, created_at, webhook_id, mode, types, agent_ids, since, until, state,
			phase, coalesce(boundary, since), coalesce(at_time, '-infinity'::timestamptz) = '-infinity', coalesce(at_time, since), at_id,
			at_seq, end_seq, seen, matched, matched_before, from_stream, from_table
		FROM fanmail.replays WHERE id = $1 AND runner = $2 AND finished_at IS NULL`, c.id, c.token).
		Scan(&w.ref.TenantID, &w.ref.CreatedAt, &q.WebhookID, &q.Mode, &q.Types, &q.AgentIDs, &q.Since, &q.Until, &w.state,
			&p.phase, &p.boundary, &p.first, &p.atTime, &p.atID, &p.atSeq, &p.endSeq, &p.seen, &p.matched, &p.matchedBefore, &p.fromStream, &p.fromTable)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errLost
	}
	if err != nil {
		return nil, fmt.Errorf("read a replay: %w", err)
	}
	w.endedAt = w.ref.CreatedAt
	w.ref.ID, w.ref.Missed = c.id, q.Mode == Missed
	rows, err := s.pool.Query(ctx, `SELECT webhook_id, state, count(*)::int FROM fanmail.replay_deliveries WHERE replay_id = $1 GROUP BY webhook_id, state`, c.id)
	if err != nil {
		return nil, fmt.Errorf("count a replay's deliveries: %w", err)
	}
	var id events.WebhookID
	var state, n int
	if _, err := pgx.ForEachRow(rows, []any{&id, &state, &n}, func() error { w.target(id).rows[state] = n; return nil }); err != nil {
		return nil, fmt.Errorf("count a replay's deliveries: %w", err)
	}
	log.Debug("working on a replay", zap.String("phase", string(w.cursor.phase)))
	return w, nil
}

// target returns the target of a webhook, new if it is the first match.
func (w *work) target(id events.WebhookID) *target {
	t := w.targets[id]
	if t == nil {
		t = &target{movedAt: time.Now(), pace: minWaiting}
		if e := w.registry.Get(id); e != nil {
			t.strict = e.Strict
		}
		w.targets[id] = t
		w.order = append(w.order, id)
	}
	return t
}

// total counts the rows in a state.
func (w *work) total(state int) (n int) {
	for _, t := range w.targets {
		n += t.rows[state]
	}
	return n
}

// fenced renews the lease and runs f, in one transaction. It returns errLost if the
// claim no longer holds.
func (w *work) fenced(ctx context.Context, f func(tx pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `UPDATE fanmail.replays SET leased_until = now() + make_interval(secs => $3)
			WHERE id = $1 AND runner = $2 AND finished_at IS NULL RETURNING state`, w.id, w.token, lease.Seconds()).Scan(&w.state)
		if errors.Is(err, pgx.ErrNoRows) {
			return errLost
		}
		if err != nil {
			return fmt.Errorf("renew the lease of a replay: %w", err)
		}
		return f(tx)
	})
}

// renew renews the lease.
func (w *work) renew(ctx context.Context) error {
	return w.fenced(ctx, func(pgx.Tx) error { return nil })
}
