package replay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// windowMin and windowMax bound how many deliveries of a webhook may wait
	// for their first attempt: as many as it finishes in a second.
	windowMin = 16
	windowMax = 512
	// foundMax is how many found events of a webhook may wait to be enqueued
	// before reading waits for it; sortMin is how many of a webhook in strict
	// order are gathered before the lowest sequence goes out, while reading
	// goes on: further than that no two events change places.
	foundMax = 10_000
	sortMin  = foundMax / 2
	// stalled is how long a webhook may stand still before it no longer holds
	// up the replay's other webhooks. What is found for it from then on waits
	// in the table of deliveries, due.
	stalled = time.Minute
	// overflow is how many found events a stalled webhook gives up a step.
	overflow = 1000
	// lookEvery is how often deliveries that have failed an attempt are looked
	// at, lookRows of them.
	lookEvery = time.Second
	lookRows  = 1000
)

// The states of a row of replay_deliveries, and that of none.
const (
	stateGone     = -1
	stateFound    = 0
	stateEnqueued = 1
	stateTried    = 2
)

// hook is a webhook of a replay.
type hook struct {
	rows    [3]int // of replay_deliveries, by state
	strict  bool
	pace    float64 // deliveries that left the window a second, smoothed
	movedAt time.Time
}

func (h *hook) window() int { return max(windowMin, min(windowMax, int(h.pace))) }

// work is a claimed replay and what its process remembers of it. All of it can
// be read again from the tables.
type work struct {
	*Runner
	claim
	log *zap.Logger

	ref      subscribers.ReplayRef
	request  Request
	state    State
	place    place
	finished bool

	hooks    map[events.WebhookID]*hook
	order    []events.WebhookID // whose turn it is
	paced    time.Time          // when paces were last reckoned
	searched position

	consumer jetstream.Consumer // nil: to be made
	next     uint64             // the consumer's next sequence
	faults   int                // of the broker, in a row
	count    count
}

// load reads a claimed replay.
func (r *Runner) load(ctx context.Context, c claim, log *zap.Logger) (*work, error) {
	// A webhook that was made a moment ago must be known.
	if err := r.registry.Load(ctx); err != nil {
		return nil, err
	}
	w := &work{Runner: r, claim: c, log: log, hooks: map[events.WebhookID]*hook{}}
	q, p := &w.request, &w.place
	var mode Mode
	err := r.pool.QueryRow(ctx, `SELECT tenant_id, created_at, webhook_id, mode, types, agent_ids, since, until, state,
			phase, coalesce(seam, since), coalesce(at_time, '-infinity'::timestamptz) = '-infinity', coalesce(at_time, since), at_id,
			at_seq, end_seq, seen, matched, matched_before, from_stream, from_table
		FROM fanmail.replays WHERE id = $1 AND runner = $2 AND finished_at IS NULL`, c.id, c.token).
		Scan(&w.ref.TenantID, &w.ref.CreatedAt, &q.WebhookID, &mode, &q.Types, &q.AgentIDs, &q.Since, &q.Until, &w.state,
			&p.phase, &p.seam, &p.fresh, &p.atTime, &p.atID, &p.atSeq, &p.endSeq, &p.seen, &p.matched, &p.before, &p.stream, &p.table)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, errLost
	}
	if err != nil {
		return nil, fmt.Errorf("read a replay: %w", err)
	}
	q.Mode = mode
	w.ref.ID, w.ref.Missed = c.id, mode == Missed
	rows, err := r.pool.Query(ctx, `SELECT webhook_id, state, count(*)::int FROM fanmail.replay_deliveries WHERE replay_id = $1 GROUP BY webhook_id, state`, c.id)
	if err != nil {
		return nil, fmt.Errorf("count a replay's deliveries: %w", err)
	}
	var id events.WebhookID
	var state, n int
	if _, err := pgx.ForEachRow(rows, []any{&id, &state, &n}, func() error { w.hook(id).rows[state] = n; return nil }); err != nil {
		return nil, fmt.Errorf("count a replay's deliveries: %w", err)
	}
	log.Debug("working on a replay", zap.String("phase", string(w.place.phase)))
	return w, nil
}

func (w *work) hook(id events.WebhookID) *hook {
	h := w.hooks[id]
	if h == nil {
		h = &hook{movedAt: time.Now(), pace: windowMin}
		if e := w.registry.Get(id); e != nil {
			h.strict = e.Strict
		}
		w.hooks[id] = h
		w.order = append(w.order, id)
	}
	return h
}

// total counts the rows of a state.
func (w *work) total(state int) (n int) {
	for _, h := range w.hooks {
		n += h.rows[state]
	}
	return n
}

// fenced runs f in a transaction that holds only while the claim does, and
// renews the claim's lease.
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

// step does a little of everything and says whether the replay got on.
func (w *work) step(ctx context.Context) (bool, error) {
	if w.state == Cancelling {
		return w.cancel(ctx)
	}
	read, err := w.read(ctx)
	if err != nil {
		return read, err
	}
	moved, err := w.advance(ctx)
	return read || moved, err
}
