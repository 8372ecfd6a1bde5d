package erasure_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

const patience = 90 * time.Second

// rig is a database, a broker, a blob store and a receiver. Engine starts what delivers.
type rig struct {
	t        *testing.T
	pool     *pgxpool.Pool
	nc       *nats.Conn
	js       jetstream.JetStream
	sink     *sink.Sink
	folder   string // of the store
	store    blobs.Store
	registry *subscribers.Registry
	hooks    *subscribers.Store
}

func newRig(t *testing.T) *rig {
	t.Helper()
	folder := t.TempDir()
	r := &rig{t: t, sink: sink.New(t), folder: folder, store: blobs.NewFolder(folder)}
	var err error
	r.pool, err = pg.Open(context.Background(), pgtest.URL(t), 12)
	require.NoError(t, err)
	t.Cleanup(r.pool.Close)
	r.nc, r.js = natstest.Connect(t)
	r.hooks = subscribers.NewStore(r.pool, subscribers.Limits{AllowHTTP: true, AllowNetworks: local()})
	r.registry = subscribers.NewRegistry(r.pool, r.nc, zaptest.NewLogger(t))
	return r
}

func local() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }

// engine starts the relay, the fan-out and a dispatcher.
func (r *rig) engine() {
	r.t.Helper()
	ctx, log := context.Background(), zaptest.NewLogger(r.t)
	require.NoError(r.t, r.registry.Load(ctx))
	d, err := dispatch.New(r.pool, r.nc, r.js, r.registry, dispatch.Options{Name: "test", AllowHTTP: true, AllowNetworks: local(), Drain: 5 * time.Second, Log: log})
	require.NoError(r.t, err)
	r.run(r.registry.Run)
	r.run(d.Run)
	r.run(fanout.New(r.pool, r.js, r.registry, fanout.Options{Log: log, Lanes: d}).Run)
	r.run(relay.New(r.pool, r.nc, r.js, relay.Options{Log: log}).Run)
}

func (r *rig) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	r.t.Cleanup(func() { cancel(); require.NoError(r.t, <-done) })
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(context.Background(), sql, args...)
	require.NoError(r.t, err)
}

func (r *rig) count(sql string, args ...any) (n int) {
	r.t.Helper()
	require.NoError(r.t, r.pool.QueryRow(context.Background(), sql, args...).Scan(&n))
	return n
}

func (r *rig) tenant() events.TenantID {
	r.t.Helper()
	id := events.NewRandom[events.TenantKind]()
	r.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, id)
	return id
}

func (r *rig) webhook(tenant events.TenantID, path string) events.WebhookID {
	r.t.Helper()
	made, secret, err := r.hooks.Create(context.Background(), tenant, subscribers.Webhook{URL: r.sink.URL(path), Events: []events.Type{"*"}, Enabled: true})
	require.NoError(r.t, err)
	r.sink.Secret(path, secret)
	return made.ID
}

// letter is a mail: its data, and what stands in its raw form.
type letter struct {
	from, to, cc, bcc string
	large             bool     // its raw mail is in the blob store
	header, body      string   // more of the raw mail, which the data do not have
	lacks             []string // what the data say that they lack
	bounced           bool     // a second event is made of it
}

// mail inserts a mail as ingest does, with one message for an agent of each tenant.
func (r *rig) mail(l letter, tenants ...events.TenantID) (ids []events.ID, messages []events.MessageID) {
	r.t.Helper()
	ctx := context.Background()
	raw := []byte("From: " + l.from + "\r\nTo: " + l.to + "\r\nCc: " + l.cc + "\r\n" + l.header + "\r\n" + l.body + "Hello.\r\n")
	if l.large {
		raw = append(raw, make([]byte, mailbox.BlobOver)...)
	}
	mail := mailbox.Mail{ID: events.NewID(), Raw: raw}
	var at time.Time
	require.NoError(r.t, pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		require.NoError(r.t, tx.QueryRow(ctx, `SELECT now()`).Scan(&at))
		if l.large {
			blob, err := mailbox.PutBlob(ctx, r.store, blobs.Bytes(raw))
			require.NoError(r.t, err)
			mail.Blob = blob
		}
		var evs []events.Event
		for _, tenant := range tenants {
			m := events.NewRandom[events.MessageKind]()
			messages = append(messages, m)
			data, err := json.Marshal(map[string]any{
				"message_id": m.String(), "from": []any{map[string]string{"address": l.from}}, "to": []any{map[string]string{"address": l.to}}, "cc": []any{map[string]string{"address": l.cc}},
				"envelope": map[string]any{"from": "bounce@lists.example", "to": []string{l.bcc}}, "truncated": l.lacks,
			})
			require.NoError(r.t, err)
			evs = append(evs, events.Event{TenantID: tenant, Type: events.EmailReceived, AgentID: "robot@agents.example", MessageID: m.String(), IdempotencyKey: "mail:" + m.String(), Data: data})
		}
		for i := range tenants {
			if l.bounced {
				evs = append(evs, events.Event{TenantID: evs[i].TenantID, Type: events.EmailBounced, AgentID: evs[i].AgentID, MessageID: evs[i].MessageID, IdempotencyKey: evs[i].IdempotencyKey, Data: []byte(`{}`)})
			}
		}
		done, err := outbox.InsertMany(ctx, tx, evs)
		if err != nil {
			return err
		}
		for i, tenant := range tenants {
			ids = append(ids, done[i].ID)
			mail.Messages = append(mail.Messages, mailbox.Message{ID: messages[i], TenantID: tenant, AgentID: "robot@agents.example", EventID: done[i].ID})
		}
		b := &pgx.Batch{}
		mailbox.QueueMails(b, at, []mailbox.Mail{mail})
		return tx.SendBatch(ctx, b).Close()
	}))
	for i, tenant := range tenants {
		r.exec(`INSERT INTO fanmail.webhook_deliveries (message_id, created_at, tenant_id, agent_id, expires_at, max_attempts, status, last_error)
			VALUES ($1, $2, $3, 'robot@agents.example', now(), 8, 'failed', $4)`, messages[i], at, tenant, "refused "+l.from)
	}
	outbox.Wake(r.nc)
	return ids, messages
}

// delivered waits until nothing is left to fan out or to deliver.
func (r *rig) delivered() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		return r.count(`SELECT count(*) FROM fanmail.outbox`) == 0 && r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending'`) == 0
	}, patience, 10*time.Millisecond)
}

// worker waits for next to nothing between its passes.
func (r *rig) worker() *erasure.Worker {
	return erasure.New(r.pool, erasure.Options{Rows: true, Outside: true, JS: r.js, Blobs: r.store, Tables: tables(), Settle: time.Nanosecond, Log: zaptest.NewLogger(r.t)})
}

// underWay is the metric of how long the oldest erasure has been under way, in seconds.
func (r *rig) underWay() float64 {
	r.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(r.t, erasure.New(r.pool, erasure.Options{Registerer: registry}).Round(r.t.Context()))
	families, err := registry.Gather()
	require.NoError(r.t, err)
	for _, f := range families {
		if f.GetName() == "fanmail_erasures_oldest_seconds" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.Fail(r.t, "the metric is missing")
	return 0
}

func (r *rig) ofAddress(tenant events.TenantID, address string) erasure.Erasure {
	r.t.Helper()
	e, err := erasure.OfAddress(context.Background(), r.pool, tenant, address, "key_test")
	require.NoError(r.t, err)
	return e
}

func (r *rig) ofMessage(tenant events.TenantID, id events.MessageID) erasure.Erasure {
	r.t.Helper()
	e, err := erasure.OfMessage(context.Background(), r.pool, tenant, id, "key_test")
	require.NoError(r.t, err)
	return e
}

// end works until an erasure has ended.
func (r *rig) end(e erasure.Erasure) erasure.Erasure {
	r.t.Helper()
	w := r.worker()
	require.Eventually(r.t, func() bool {
		if err := w.Round(context.Background()); err != nil {
			r.t.Log(err)
			r.exec(`UPDATE fanmail.erasures SET due_at = now() WHERE finished_at IS NULL`)
		}
		now, err := erasure.Get(context.Background(), r.pool, e.TenantID, e.ID)
		require.NoError(r.t, err)
		e = now
		return e.State == erasure.Completed
	}, patience, time.Millisecond)
	require.Zero(r.t, r.count(`SELECT count(*) FROM fanmail.erased_items WHERE erasure_id = $1`, e.ID))
	return e
}

// holding lists the tables, streams and blobs in which a text stands, in any column of any type.
func (r *rig) holding(text string) (places []string) {
	r.t.Helper()
	ctx := context.Background()
	rows, err := r.pool.Query(ctx, `SELECT relname::text FROM pg_class WHERE relnamespace = 'fanmail'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition`)
	require.NoError(r.t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(r.t, err)
	for _, table := range tables {
		n := r.count(`SELECT count(*) FROM fanmail.`+table+` AS t WHERE position(lower($1) IN lower(t::text)) > 0 OR position($2 IN t::text) > 0 OR position($3 IN t::text) > 0`,
			text, hex.EncodeToString([]byte(text)), hex.EncodeToString([]byte(strings.ToUpper(text))))
		if n > 0 {
			places = append(places, fmt.Sprintf("%s: %d", table, n))
		}
	}
	for _, m := range r.messages(">") {
		if strings.Contains(strings.ToLower(string(m.Data)), strings.ToLower(text)) {
			places = append(places, fmt.Sprintf("%s: message %d", stream.Events, m.Sequence))
		}
	}
	return places
}

// messages are those of MAIL_EVENTS with a subject.
func (r *rig) messages(subject string) (all []*jetstream.RawStreamMsg) {
	r.t.Helper()
	for from := uint64(1); ; {
		list, err := stream.Read(context.Background(), r.js, stream.Page{Stream: stream.Events, Subject: subject, From: from, Limit: 500})
		require.NoError(r.t, err)
		if len(list) == 0 {
			return all
		}
		all, from = append(all, list...), list[len(list)-1].Sequence+1
	}
}

// all is all that a tenant has: the rows of each table, the messages, and the raw mails with their blobs.
func (r *rig) all(tenant events.TenantID) map[string][]string {
	r.t.Helper()
	ctx, out := context.Background(), map[string][]string{}
	read := func(name, sql string) {
		rows, err := r.pool.Query(ctx, sql, tenant)
		require.NoError(r.t, err)
		out[name], err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(r.t, err)
	}
	rows, err := r.pool.Query(ctx, `SELECT c.table_name::text FROM information_schema.columns AS c JOIN pg_class AS k ON k.relname = c.table_name AND k.relnamespace = 'fanmail'::regnamespace
		WHERE c.table_schema = 'fanmail' AND c.column_name = 'tenant_id' AND NOT k.relispartition`)
	require.NoError(r.t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(r.t, err)
	require.Contains(r.t, tables, "events")
	for _, table := range tables {
		read(table, `SELECT (to_jsonb(t) - 'last_delivered_at')::text FROM fanmail.`+table+` AS t WHERE tenant_id = $1 ORDER BY 1`) // a dispatcher writes that time some time after the delivery
	}
	read("attempts", `SELECT a::text FROM fanmail.webhook_delivery_attempts AS a JOIN fanmail.webhook_subscriber_deliveries AS d ON d.id = a.delivery_id WHERE d.tenant_id = $1 ORDER BY 1`)
	read("raws", `SELECT r::text FROM fanmail.message_raws AS r JOIN fanmail.messages AS m ON m.raw_id = r.id WHERE m.tenant_id = $1 ORDER BY 1`)
	for _, m := range r.messages(events.EventSubjects(tenant, nil)) {
		out["stream"] = append(out["stream"], fmt.Sprint(m.Sequence, m.Subject, m.Header.Get(stream.HeaderEvent), string(m.Data)))
	}
	rows, err = r.pool.Query(ctx, `SELECT r.blob FROM fanmail.message_raws AS r JOIN fanmail.messages AS m ON m.raw_id = r.id WHERE m.tenant_id = $1 AND r.blob IS NOT NULL ORDER BY 1`, tenant)
	require.NoError(r.t, err)
	keys, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(r.t, err)
	for _, key := range keys {
		_, err := r.store.Open(ctx, key, 0)
		require.NoError(r.t, err, key)
		out["blobs"] = append(out["blobs"], key)
	}
	return out
}
