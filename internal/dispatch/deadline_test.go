package dispatch_test

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// deadlines sorts statements by whether their context has a deadline.
type deadlines struct {
	mu            sync.Mutex
	with, without map[string]bool
}

func (d *deadlines) note(ctx context.Context, sql string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	sql = strings.Join(strings.Fields(sql), " ")
	if _, has := ctx.Deadline(); has {
		d.with[sql] = true
	} else {
		d.without[sql] = true
	}
}

func (d *deadlines) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	d.note(ctx, data.SQL)
	return ctx
}
func (*deadlines) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

func (d *deadlines) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, q := range data.Batch.QueuedQueries {
		d.note(ctx, q.SQL)
	}
	return ctx
}
func (*deadlines) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}
func (*deadlines) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData)     {}

// met says that a statement that contains a text has run.
func (d *deadlines) met(text string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ran := range []map[string]bool{d.with, d.without} {
		for sql := range ran {
			if strings.Contains(sql, text) {
				return true
			}
		}
	}
	return false
}

// A database that acknowledges and answers nothing would stop a loop for as long as it does.
func TestNoLoopWaitsForTheDatabaseWithoutADeadline(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	seen := &deadlines{with: map[string]bool{}, without: map[string]bool{}}
	cfg, err := pg.Parse(secret.Text(r.url))
	require.NoError(t, err)
	cfg.ConnConfig.Tracer = seen
	pg.Configure(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	nc, js := r.connect()
	registry := subscribers.NewRegistry(pool, nc, r.log)
	require.NoError(t, registry.Load(t.Context()))
	d, err := dispatch.New(pool, nc, js, registry, dispatch.Options{
		Name: "test", AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Drain: r.drain, Log: r.log,
	})
	require.NoError(t, err)
	r.run(fanout.New(pool, js, registry, fanout.Options{Log: r.log}).Run) // all deliveries travel in messages
	r.run(d.Run)
	r.run(registry.Run)
	r.run(relay.New(pool, nc, js, relay.Options{Log: r.log}).Run)

	r.webhook("/good")
	r.webhook("/strict", func(w *subscribers.Webhook) { w.Ordering = subscribers.OrderingStrict })
	r.insert(10)
	// One whose envelope does not fit into a message.
	r.insert(1, func(_ int, e *events.Event) {
		e.Data = []byte(`{"subject":"` + strings.Repeat("x", events.MaxEnvelopeBytes-2<<10) + `"}`)
	})
	r.settles(map[string]int{"delivered": 22})
	require.Eventually(t, func() bool {
		for _, text := range []string{"WITH RECURSIVE found", "FROM fanmail.outbox", "changed_xid", "status = 'delivered'"} {
			if !seen.met(text) {
				return false
			}
		}
		return true
	}, time.Minute, 10*time.Millisecond)
	seen.mu.Lock()
	defer seen.mu.Unlock()
	require.Empty(t, seen.without)
}
