package outbox

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
)

// MaxInsert is the most events that one call of [InsertMany] takes.
const MaxInsert = 1000

// Inserted is the result of inserting one event.
type Inserted struct {
	ID events.ID
	// CreatedAt is the event's creation time: the time of the transaction by the
	// database's clock. Zero if New is false.
	CreatedAt time.Time
	// New is false if an event of the same tenant, key and type was accepted
	// before. That event stays as it was, and nothing was written.
	New bool
}

// Insert writes an event and its outbox row in tx and returns the event's id. If an
// event with the same tenant, idempotency key and type was accepted within 30 days,
// Insert writes nothing and returns that event's id.
//
// A type that is not built in is looked up in tx: one of the tenant's own, or one of the
// operator's. The data is not compared with its schema.
//
// It returns an error that wraps an [*events.FieldError] if the event is not valid, and an
// [*events.UnknownTypeError] too if the tenant has no such type; tx is then still
// usable. After any other error, which comes from the database, roll tx back. For a tenant that was deleted it wraps an
// [*events.DeletedTenantError]: neither now nor later does the tenant take events, unless it is restored.
func Insert(ctx context.Context, tx pgx.Tx, ev events.Event) (events.ID, error) {
	done, err := InsertMany(ctx, tx, []events.Event{ev})
	if err != nil {
		return events.ID{}, err
	}
	return done[0].ID, nil
}

// InsertMany is [Insert] for up to [MaxInsert] events in one round trip. It returns
// one result for each event, in order; for no events it returns nil. The order of the
// slice is the order of the outbox. Two events of one tenant, key and type in the same
// call are one event: the result of the second has New false.
//
// If one event is not valid, none is written. If ctx carries a sampled span, the
// deliveries of the events are traced under it.
func InsertMany(ctx context.Context, tx pgx.Tx, evs []events.Event) ([]Inserted, error) {
	if len(evs) == 0 {
		return nil, nil
	}
	if len(evs) > MaxInsert {
		return nil, tooMany(len(evs))
	}
	prepared := make([]Prepared, len(evs))
	for i := range evs {
		var err error
		if prepared[i], err = Prepare(evs[i]); err != nil {
			return nil, err
		}
	}
	return InsertPrepared(ctx, tx, prepared)
}

func tooMany(n int) error {
	return &events.FieldError{Field: "events", Reason: fmt.Sprintf("%d in one call; the limit is %d", n, MaxInsert)}
}

// InsertPrepared is [InsertMany] for events that [Prepare] has validated and encoded.
func InsertPrepared(ctx context.Context, tx pgx.Tx, evs []Prepared) ([]Inserted, error) {
	if len(evs) == 0 {
		return nil, nil
	}
	if len(evs) > MaxInsert {
		return nil, tooMany(len(evs))
	}
	done, at, c, err := arrange(evs)
	if err != nil {
		return nil, err
	}
	if err := checkTypes(ctx, tx, evs); err != nil {
		return nil, err
	}
	ctx, ended := begin(ctx, len(c.ids))
	defer ended()
	b := &pgx.Batch{}
	c.queueLock(b)
	b.Queue(c.insert(), c.args(ctx)...)
	results := tx.SendBatch(ctx, b)
	defer func() { _ = results.Close() }()
	if _, err := results.Exec(); err != nil {
		return nil, fmt.Errorf("lock tenants with strict webhooks: %w", refused(err))
	}
	rows, err := results.Query()
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", err)
	}
	var id events.ID
	var created time.Time
	_, err = pgx.ForEachRow(rows, []any{&id, &created}, func() error {
		i := at[id]
		done[i].New, done[i].CreatedAt = true, created.UTC()
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("insert events: %w", err)
	}
	return done, results.Close()
}

// Accepted reports for each event whether its key is that of an event that was accepted within 30 days. [InsertPrepared]
// would write nothing for it.
func Accepted(ctx context.Context, db pg.DB, evs []Prepared) ([]bool, error) {
	ids := make([]pgtype.UUID, len(evs))
	for i := range evs {
		ids[i] = pgtype.UUID{Bytes: evs[i].id, Valid: true}
	}
	rows, err := db.Query(ctx, `SELECT event_id FROM fanmail.event_keys
		WHERE bucket IN (fanmail.bucket(now()), fanmail.bucket(now()) - 1) AND event_id = ANY ($1::uuid[])`, ids)
	if err != nil {
		return nil, fmt.Errorf("look up events: %w", err)
	}
	found := make(map[events.ID]bool)
	var id events.ID
	if _, err = pgx.ForEachRow(rows, []any{&id}, func() error { found[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("look up events: %w", err)
	}
	accepted := make([]bool, len(evs))
	for i := range evs {
		accepted[i] = found[evs[i].id]
	}
	return accepted, nil
}

// arrange returns a result with its id for each event, and the columns of the events to insert. Two events with the same
// id are inserted once. at holds the position in evs of each inserted event.
func arrange(evs []Prepared) (done []Inserted, at map[events.ID]int, c insertColumns, err error) {
	done, at = make([]Inserted, len(evs)), make(map[events.ID]int, len(evs))
	c.grow(len(evs))
	for i := range evs {
		id := evs[i].id
		if id.IsZero() {
			return nil, nil, c, &events.FieldError{Field: "events", Reason: fmt.Sprintf("event %d was not created by Prepare", i)}
		}
		done[i].ID = id
		if _, twice := at[id]; twice {
			continue
		}
		at[id] = i
		c.add(&evs[i])
	}
	return done, at, c, nil
}

// Log writes an event to the event log and not to the outbox: it is fanned out to
// nobody, and replays leave it out. The caller makes the deliveries that there are to be, in the same
// transaction. An invalid event is an [*events.FieldError]; the event's idempotency
// key is not used.
func Log(ctx context.Context, tx pg.DB, ev *events.Event) (events.Record, error) {
	unkeyed := *ev
	unkeyed.IdempotencyKey = ""
	p, err := Prepare(unkeyed)
	if err != nil {
		return events.Record{}, err
	}
	rec := events.Record{
		ID: p.id, TenantID: ev.TenantID, Type: ev.Type,
		AgentID: ev.AgentID, ConversationID: ev.ConversationID, MessageID: ev.MessageID, Labels: ev.Labels,
	}
	var c insertColumns
	c.add(&p)
	if err := tx.QueryRow(ctx, logOnly, c.args(ctx)...).Scan(&rec.CreatedAt, &rec.Seq); err != nil {
		return events.Record{}, fmt.Errorf("log an event: %w", err)
	}
	return rec, nil
}

const inputRows = `
	SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[], $9::bytea[], $10::bytea[], $11::text[],
		$12::integer[], $13::bigint[], $14::bigint[]) WITH ORDINALITY
		AS t (id, tenant_id, type, agent_id, conversation_id, labels, message_id, keyed, head, tail, traceparent, uncounted, message_hash, header_hash, n)
`

const eventInput = `
WITH input AS (` + inputRows + `), `

// A key counts in the present bucket and the one before. On a bucket's first day
// it is written to both, so that two transactions on either side of the boundary
// meet in one of them.
const freshOfKeys = `bucket AS (
	SELECT fanmail.bucket(now()) AS present, fanmail.bucket(now() - interval '24 hours') < fanmail.bucket(now()) AS first_day
), claimed AS (
	INSERT INTO fanmail.event_keys (bucket, event_id)
	SELECT b, id FROM input, bucket, LATERAL (SELECT present AS b UNION ALL SELECT present - 1 WHERE first_day) AS bs
	WHERE keyed ORDER BY id, b
	ON CONFLICT DO NOTHING
	RETURNING bucket, event_id
), fresh AS (
	SELECT i.* FROM input AS i WHERE NOT i.keyed
	UNION ALL
	SELECT i.* FROM input AS i, bucket WHERE i.keyed
		AND (SELECT count(*) FROM claimed WHERE event_id = i.id) = CASE WHEN first_day THEN 2 ELSE 1 END
		AND NOT EXISTS (SELECT 1 FROM fanmail.event_keys AS k WHERE k.bucket = present - 1 AND k.event_id = i.id)
)`

const freshWithoutKeys = `fresh AS (SELECT * FROM input)`

// logged numbers the fresh events and writes them to the event log. unlisted gives them negative numbers.
const (
	logged   = `, numbered AS (SELECT *, nextval('fanmail.outbox_seq') AS seq` + inLog
	unlisted = `, numbered AS (SELECT *, -nextval('fanmail.outbox_seq') AS seq` + inLog
)

const inLog = ` FROM (SELECT * FROM fresh ORDER BY n) AS f
), logged AS (
	INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, agent_id, conversation_id, labels, message_id, envelope, traceparent, message_key, header_key)
	SELECT id, now(), tenant_id, type, seq, nullif(agent_id, ''), nullif(conversation_id, ''),
	       CASE WHEN labels = '' THEN NULL ELSE string_to_array(labels, E'\x01') END, nullif(message_id, ''),
	       head || convert_to(to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8') || tail,
	       nullif(traceparent, ''), fanmail.search_key(now(), message_hash), fanmail.search_key(now(), header_hash)
	FROM numbered ORDER BY seq
)
`

const queueLogged = `INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at, uncounted)
SELECT tenant_id, seq, id, now(), nullif(uncounted, 0) FROM numbered ORDER BY seq
RETURNING event_id, created_at`

// The event, its key and its outbox row are written by one statement.
const (
	insertEvents      = eventInput + freshWithoutKeys + logged + queueLogged
	insertKeyedEvents = eventInput + freshOfKeys + logged + queueLogged
	logOnly           = eventInput + freshWithoutKeys + unlisted + `SELECT now(), seq FROM numbered`
)

// labelSeparator joins the labels of an event into one text, because unnest
// flattens arrays of arrays. Validation refuses control characters in labels.
const labelSeparator = "\x01"

// insertColumns hold the columns of the new rows. Ids are in pgx's own type, which the caller's connection can encode in
// every query mode and at little cost.
type insertColumns struct {
	ids, tenants                                   []pgtype.UUID
	types, agents, conversations, labels, messages []string
	traces                                         []string
	keyed                                          []bool
	heads, tails                                   [][]byte
	uncounted                                      []int32
	messageHashes, headerHashes                    []int64
}

func (c *insertColumns) grow(n int) {
	c.ids, c.tenants = make([]pgtype.UUID, 0, n), make([]pgtype.UUID, 0, n)
	c.heads, c.tails = make([][]byte, 0, n), make([][]byte, 0, n)
}

func (c *insertColumns) add(p *Prepared) {
	ev := &p.event
	c.ids = append(c.ids, pgtype.UUID{Bytes: p.id, Valid: true})
	c.tenants = append(c.tenants, pgtype.UUID{Bytes: ev.TenantID, Valid: true})
	c.types = append(c.types, string(ev.Type))
	c.agents = append(c.agents, ev.AgentID)
	c.conversations = append(c.conversations, ev.ConversationID)
	c.labels = append(c.labels, joinLabels(ev.Labels))
	c.messages = append(c.messages, ev.MessageID)
	c.keyed = append(c.keyed, ev.IdempotencyKey != "")
	c.heads = append(c.heads, p.head)
	c.tails = append(c.tails, p.tail)
	c.traces = append(c.traces, p.trace)
	c.uncounted = append(c.uncounted, p.uncounted)
	c.messageHashes, c.headerHashes = append(c.messageHashes, p.message), append(c.headerHashes, p.header)
}

// args are the arguments of the statements that begin with eventInput.
func (c *insertColumns) args(ctx context.Context) []any {
	if trace := tracecontext.Of(ctx); trace != "" {
		for i := range c.traces {
			c.traces[i] = cmp.Or(c.traces[i], trace)
		}
	}
	return []any{c.ids, c.tenants, c.types, c.agents, c.conversations, c.labels, c.messages, c.keyed, c.heads, c.tails, c.traces, c.uncounted, c.messageHashes, c.headerHashes}
}

// insert picks the statement: the one for keys costs more.
func (c *insertColumns) insert() string {
	if slices.Contains(c.keyed, true) {
		return insertKeyedEvents
	}
	return insertEvents
}

func (c *insertColumns) queueLock(b *pgx.Batch) {
	tenants := c.distinctTenants()
	if len(tenants) == 1 {
		b.Queue(lockOneStrict, tenants[0])
		return
	}
	b.Queue(lockStrict, tenants)
}

func joinLabels(labels []string) string { return strings.Join(labels, labelSeparator) }

func (c *insertColumns) distinctTenants() []pgtype.UUID {
	seen := make(map[pgtype.UUID]struct{}, 1)
	var out []pgtype.UUID
	for _, t := range c.tenants {
		if _, ok := seen[t]; !ok {
			seen[t] = struct{}{}
			out = append(out, t)
		}
	}
	return out
}
