package importe2a_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/importe2a"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/e2atest"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// patience is how long tests wait for a condition.
const patience = 3 * time.Minute

var local = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// rig has an e2a database, an empty Fanmail and a receiver.
type rig struct {
	t      *testing.T
	there  *e2atest.Database
	pool   *pgxpool.Pool
	sink   *sink.Sink
	keyset string
	ann    events.TenantID
}

func newRig(t *testing.T, evs int) *rig {
	t.Helper()
	r := &rig{t: t, sink: sink.New(t)}
	r.there = e2atest.New(t, strings.TrimSuffix(r.sink.URL("/"), "/"))
	if evs > 0 {
		r.there.Fill(t, evs)
	}
	var err error
	r.pool, err = pg.Open(t.Context(), pgtest.URL(t), 8)
	require.NoError(t, err)
	t.Cleanup(r.pool.Close)
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	r.keyset = string(text)
	r.ann, err = events.Parse[events.TenantKind]("ten_" + e2atest.Ann)
	require.NoError(t, err)
	return r
}

func (r *rig) options() importe2a.Options {
	keys, err := keyring.Parse(secret.Text(r.keyset))
	require.NoError(r.t, err)
	limits := subscribers.Limits{AllowHTTP: true, AllowNetworks: local}
	return importe2a.Options{
		Pool: r.pool, Store: subscribers.NewStore(r.pool, limits).WithKeyring(keys), Registry: subscribers.NewRegistry(r.pool, nil, nil).WithKeyring(keys),
		Limits: limits, Progress: func(string, int64, int64) {},
	}
}

func (r *rig) source() *importe2a.Source {
	r.t.Helper()
	src, err := importe2a.Open(r.t.Context(), secret.Text(r.there.URL))
	require.NoError(r.t, err)
	r.t.Cleanup(src.Close)
	return src
}

// run makes a pass.
func (r *rig) run(o importe2a.Options) *importe2a.Report {
	r.t.Helper()
	report, err := importe2a.Import(r.t.Context(), r.source(), o, func(*importe2a.Report) {})
	require.NoError(r.t, err, "%v", report.Problems)
	return report
}

// check compares both sides.
func (r *rig) check() *importe2a.Report {
	r.t.Helper()
	report, err := importe2a.Check(r.t.Context(), r.source(), r.options())
	require.NoError(r.t, err)
	return report
}

func added(report *importe2a.Report) (n int64) {
	for _, row := range report.Rows {
		n += row.Added
	}
	return n
}

func rowOf(t *testing.T, report *importe2a.Report, what string) *importe2a.Row {
	t.Helper()
	for _, row := range report.Rows {
		if row.What == what {
			return row
		}
	}
	require.Fail(t, "no such row", what)
	return nil
}

// start runs Fanmail until the test ends.
func (r *rig) start() *fanmail.Client {
	r.t.Helper()
	nc, err := nats.Connect(natstest.URL(r.t))
	require.NoError(r.t, err)
	r.t.Cleanup(nc.Close)
	c, err := fanmail.New(r.pool, nc, fanmail.Config{AllowHTTP: true, AllowNetworks: local, SecretsKey: secret.Text(r.keyset), Logger: zap.NewNop()})
	require.NoError(r.t, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		require.NoError(r.t, <-ended)
	})
	return c
}

// wait waits until the receiver has what it should.
func (r *rig) wait(cond func() bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	require.NoError(r.t, r.sink.Wait(ctx, cond), "%d requests came", r.sink.Count())
}

// arrived counts the POSTs of each event to each path from a number on.
func (r *rig) arrived(from int) map[e2atest.Pair]int {
	pairs := map[e2atest.Pair]int{}
	for _, p := range r.sink.Posts(from) {
		pairs[e2atest.Pair{Event: p.EventID, Path: p.Path}]++
	}
	return pairs
}

// idle waits until nothing is pending any more, but for a disabled webhook.
func (r *rig) idle() {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		var n int
		err := r.pool.QueryRow(context.Background(), `SELECT (SELECT count(*) FROM fanmail.outbox) +
			(SELECT count(*) FROM fanmail.webhook_subscriber_deliveries AS d JOIN fanmail.webhooks AS w ON w.id = d.webhook_id WHERE d.status = 'pending' AND w.enabled) +
			(SELECT count(*) FROM fanmail.webhook_deliveries WHERE status = 'pending')`).Scan(&n)
		return err == nil && n == 0
	}, patience, 50*time.Millisecond)
}
