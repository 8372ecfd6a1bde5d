package replay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// ErrCompleted is returned by [Store.Cancel] if the replay has completed.
var ErrCompleted = errors.New("the replay has completed")

// Store creates, reads and cancels replays. Every method takes a tenant and sees only the
// replays of that tenant.
type Store struct {
	db    subscribers.DB
	hooks *subscribers.Store
}

// NewStore returns a store.
func NewStore(db subscribers.DB) *Store {
	return &Store{db: db, hooks: subscribers.NewStore(db, subscribers.Limits{})}
}

// Reading returns a store that reads webhooks with hooks: only a store with the keyring
// reads those that have secrets.
func (s *Store) Reading(hooks *subscribers.Store) *Store { return &Store{db: s.db, hooks: hooks} }

// In returns the same store inside a transaction.
func (s *Store) In(tx pgx.Tx) *Store { return &Store{db: tx, hooks: s.hooks.In(tx)} }

const replayColumns = `id, tenant_id, webhook_id, mode, types, agent_ids, since, until,
	created_at, state, phase <> 'done' AND finished_at IS NULL,
	CASE WHEN from_stream AND from_table THEN 'both' WHEN from_stream THEN 'jetstream' WHEN from_table THEN 'postgres' ELSE '' END,
	matched, enqueued, replays.delivered, replays.failed, finished_at, moved_at,
	(SELECT count(*) FROM fanmail.replay_deliveries AS d WHERE d.replay_id = replays.id AND d.state = 0)`

func scanReplay(row pgx.CollectableRow) (Replay, error) {
	var r Replay
	err := row.Scan(r.columns()...)
	return r.inUTC(), err
}

func (r *Replay) columns() []any {
	return []any{
		&r.ID, &r.TenantID, &r.WebhookID, &r.Mode, &r.Types, &r.AgentIDs, &r.Since, &r.Until, &r.CreatedAt, &r.State,
		&r.Reading, &r.Source, &r.Matched, &r.Enqueued, &r.Delivered, &r.Failed, &r.FinishedAt, &r.movedAt, &r.Waiting,
	}
}

func (r Replay) inUTC() Replay {
	r.Since, r.Until, r.CreatedAt = r.Since.UTC(), r.Until.UTC(), r.CreatedAt.UTC()
	if r.FinishedAt != nil {
		at := r.FinishedAt.UTC()
		r.FinishedAt = &at
	}
	return r
}

// normalize validates the request, and sorts and deduplicates its lists.
func (q *Request) normalize() error {
	fault := func(field, format string, args ...any) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	if q.Since.IsZero() {
		return fault("since", "is required")
	}
	for _, at := range []struct {
		name string
		time time.Time
	}{{"since", q.Since}, {"until", q.Until}} {
		if wrong := input.Time(at.time); wrong != "" && !at.time.IsZero() {
			return fault(at.name, "%s", wrong)
		}
	}
	if q.Mode != Missed && q.Mode != All {
		return fault("mode", "is %q; it must be \"missed\" or \"all\"", q.Mode)
	}
	if len(q.Types) > MaxTypes {
		return fault("types", "has %d values; the limit is %d", len(q.Types), MaxTypes)
	}
	for i, t := range q.Types {
		if wrong := t.CheckSelector(); wrong != "" {
			return fault(fmt.Sprintf("types[%d]", i), "%s", wrong)
		}
	}
	if len(q.AgentIDs) > MaxAgents {
		return fault("agent_ids", "has %d values; the limit is %d", len(q.AgentIDs), MaxAgents)
	}
	types := append(make([]events.Type, 0, len(q.Types)), q.Types...)
	slices.Sort(types)
	q.Types = slices.Compact(types)
	agents := make([]string, 0, len(q.AgentIDs))
	for _, a := range q.AgentIDs {
		if a == "" {
			return fault("agent_ids", "holds an empty address; leave the list empty for all events")
		}
		if wrong := input.Text(a); wrong != "" {
			return fault("agent_ids", "holds a value that %s", wrong)
		}
		agents = append(agents, mailbox.Fold(a))
	}
	slices.Sort(agents)
	q.AgentIDs = slices.Compact(agents)
	return nil
}

// Create creates a replay. Its errors are:
//   - [*events.FieldError]: the request is invalid, or names an agent that the tenant does
//     not have
//   - [*subscribers.LimitError]: the tenant has [MaxActive] unfinished replays
//   - [subscribers.ErrNotFound]: the tenant does not have the webhook
//   - [subscribers.ErrDisabled]: the webhook is disabled
func (s *Store) Create(ctx context.Context, tenant events.TenantID, q Request) (Replay, error) {
	if err := q.normalize(); err != nil {
		return Replay{}, err
	}
	var created Replay
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		// The lock makes the count of unfinished replays exact.
		err := tenancy.Lock(ctx, tx, tenant)
		if err != nil {
			return missing(err, "lock the tenant")
		}
		if err := s.In(tx).check(ctx, tenant, &q); err != nil {
			return err
		}
		var active int
		err = tx.QueryRow(ctx, `SELECT count(*) FROM fanmail.replays WHERE tenant_id = $1 AND finished_at IS NULL`, tenant).Scan(&active)
		if err != nil {
			return fmt.Errorf("count replays: %w", err)
		}
		if active >= MaxActive {
			return &subscribers.LimitError{Name: "unfinished replays", Limit: MaxActive}
		}
		until := pgtype.Timestamptz{Time: q.Until, Valid: true}
		if q.Until.IsZero() {
			until = pgtype.Timestamptz{InfinityModifier: pgtype.Infinity, Valid: true}
		}
		rows, err := tx.Query(ctx, `INSERT INTO fanmail.replays (id, tenant_id, webhook_id, mode, types, agent_ids, since, until)
			SELECT $1, $2, $3, $4, $5, $6, $7, least($8, now()) WHERE $7 < least($8, now())
			RETURNING `+replayColumns, events.NewRandom[events.ReplayKind](), tenant, q.WebhookID, q.Mode, q.Types, q.AgentIDs, q.Since, until)
		if err != nil {
			return fmt.Errorf("insert a replay: %w", err)
		}
		created, err = pgx.CollectExactlyOneRow(rows, scanReplay)
		if errors.Is(err, pgx.ErrNoRows) {
			return errWindow
		}
		if err != nil {
			return fmt.Errorf("insert a replay: %w", err)
		}
		return nil
	})
	if err != nil {
		return Replay{}, err
	}
	return created, nil
}

// errWindow is the error for a window that holds no time.
var errWindow = &events.FieldError{Field: "since", Reason: "must lie before until, and before now"}

// check checks that the request's agents and its webhook are the tenant's, and that the
// webhook is enabled.
func (s *Store) check(ctx context.Context, tenant events.TenantID, q *Request) error {
	agent, err := mailbox.MissingAgent(ctx, s.db, tenant, q.AgentIDs...)
	if err != nil {
		return err
	}
	if agent != "" {
		return &events.FieldError{Field: "agent_ids", Reason: "names no agent of this tenant"}
	}
	if q.WebhookID.IsZero() {
		return nil
	}
	w, err := s.hooks.Get(ctx, tenant, q.WebhookID)
	if err == nil && !w.Enabled {
		err = subscribers.ErrDisabled
	}
	return err
}

// LastHour returns how many replays of a tenant were created within an hour.
func (s *Store) LastHour(ctx context.Context, tenant events.TenantID) (n int64, err error) {
	err = s.db.QueryRow(ctx, `SELECT count(*) FROM fanmail.replays WHERE tenant_id = $1 AND created_at > now() - interval '1 hour'`, tenant).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count replays: %w", err)
	}
	return n, nil
}

// Get returns a replay, or [subscribers.ErrNotFound].
func (s *Store) Get(ctx context.Context, tenant events.TenantID, id events.ReplayID) (Replay, error) {
	rows, err := s.db.Query(ctx, `SELECT `+replayColumns+` FROM fanmail.replays WHERE tenant_id = $1 AND id = $2`, tenant, id)
	if err != nil {
		return Replay{}, fmt.Errorf("read a replay: %w", err)
	}
	r, err := pgx.CollectExactlyOneRow(rows, scanReplay)
	if err != nil {
		return Replay{}, missing(err, "read a replay")
	}
	return s.upToDate(ctx, r)
}

// A delivery that has ended and whose row is still there is not in the counts yet. One statement sees both.
const countsAtOnce = `
SELECT ` + replayColumns + `, coalesce(e.delivered, 0), coalesce(e.failed, 0)
FROM fanmail.replays LEFT JOIN LATERAL (
	SELECT count(*) FILTER (WHERE e.delivered) AS delivered, count(*) FILTER (WHERE NOT e.delivered) AS failed
	FROM unnest($3::uuid[], $4::bigint[], $5::boolean[]) AS e (webhook_id, seq, delivered)
	JOIN fanmail.replay_deliveries AS d ON d.replay_id = replays.id AND d.webhook_id = e.webhook_id AND d.seq = e.seq AND d.state > 0
) AS e ON true
WHERE tenant_id = $1 AND id = $2`

// upToDate returns a replay with the deliveries that have ended and that no runner has counted yet.
func (s *Store) upToDate(ctx context.Context, r Replay) (Replay, error) {
	if r.FinishedAt != nil {
		return r, nil
	}
	e, err := readEnded(ctx, s.db, r.ID, r.CreatedAt, r.movedAt.Add(-3*endedOverlap))
	if err != nil || len(e.seqs) == 0 {
		return r, err
	}
	rows, err := s.db.Query(ctx, countsAtOnce, r.TenantID, r.ID, e.webhooks, e.seqs, e.delivered)
	if err != nil {
		return Replay{}, fmt.Errorf("read a replay: %w", err)
	}
	r, err = pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (Replay, error) {
		var r Replay
		var delivered, failed int64
		err := row.Scan(append(r.columns(), &delivered, &failed)...)
		r.Delivered += delivered
		r.Failed += failed
		return r.inUTC(), err
	})
	if err != nil {
		return Replay{}, missing(err, "read a replay")
	}
	return r, nil
}

// List returns up to limit replays that follow a place, newest first. It ends early after [pg.PageBytes] of them, and
// more then says that others come after the last one.
func (s *Store) List(ctx context.Context, tenant events.TenantID, after subscribers.Place, limit int) (list []Replay, more bool, err error) {
	at, id := after.Bound()
	rows, err := s.db.Query(ctx, `SELECT `+replayColumns+` FROM fanmail.replays
		WHERE tenant_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4`, tenant, at, id, limit)
	if err != nil {
		return nil, false, fmt.Errorf("list replays: %w", err)
	}
	if list, more, err = pg.CollectPage(rows, scanReplay); err != nil {
		return nil, false, fmt.Errorf("list replays: %w", err)
	}
	for i := range list { // at most MaxActive are unfinished
		if list[i], err = s.upToDate(ctx, list[i]); err != nil {
			return nil, false, err
		}
	}
	return list, more, nil
}

// Cancel cancels a replay and returns it. Its state is [Cancelling] until a dispatcher has
// ended its deliveries. Cancelling a cancelled replay changes nothing. The error is
// [subscribers.ErrNotFound] or [ErrCompleted].
func (s *Store) Cancel(ctx context.Context, tenant events.TenantID, id events.ReplayID) (Replay, error) {
	var r Replay
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE fanmail.replays SET state = 'cancelling', due_at = now(), moved_at = now()
			WHERE tenant_id = $1 AND id = $2 AND state IN ('queued', 'running')`, tenant, id)
		if err != nil {
			return fmt.Errorf("cancel a replay: %w", err)
		}
		r, err = s.In(tx).Get(ctx, tenant, id)
		if err == nil && r.State == Completed {
			return ErrCompleted
		}
		return err
	})
	if err != nil {
		return Replay{}, err
	}
	return r, nil
}

// Wake tells the dispatchers that a replay was created or cancelled. Call it after the
// commit. Without it they find the replay when they look next. If nc is nil, Wake does
// nothing.
func Wake(nc *nats.Conn) {
	if nc != nil {
		_ = nc.Publish(events.WakeReplays, nil)
	}
}

// missing turns [pgx.ErrNoRows] into [subscribers.ErrNotFound].
func missing(err error, doing string) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return subscribers.ErrNotFound
	}
	return fmt.Errorf("%s: %w", doing, err)
}
