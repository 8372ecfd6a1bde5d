package agentwebhook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// rig runs SMTP, a database and the endpoints of agents for one test.
type rig struct {
	t      *testing.T
	url    string
	pool   *pgxpool.Pool
	nc     *nats.Conn
	sink   *sink.Sink
	smtp   string
	tenant events.TenantID
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, url: pgtest.URL(t), sink: sink.New(t), tenant: events.NewRandom[events.TenantKind]()}
	r.pool = r.open()
	var err error
	r.nc, err = nats.Connect(natstest.URL(t))
	require.NoError(t, err)
	t.Cleanup(r.nc.Close)
	r.exec(`INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, r.tenant)
	s, err := ingest.NewServer(r.pool, r.nc, ingest.Options{Addr: "127.0.0.1:0", Log: zaptest.NewLogger(t)})
	require.NoError(t, err)
	require.NoError(t, s.Listen())
	r.smtp = s.Addr().String()
	r.run(s.Run)
	return r
}

func (r *rig) open() *pgxpool.Pool {
	pool, err := pg.Open(context.Background(), r.url, 4)
	require.NoError(r.t, err)
	r.t.Cleanup(pool.Close)
	return pool
}

func (r *rig) exec(sql string, args ...any) {
	r.t.Helper()
	_, err := r.pool.Exec(context.Background(), sql, args...)
	require.NoError(r.t, err)
}

// agent makes an agent whose webhook is a path of the sink; "" for none.
func (r *rig) agent(address, path string) string {
	r.t.Helper()
	var url *string
	if path != "" {
		u := r.sink.URL(path)
		url = &u
	}
	r.exec(`INSERT INTO fanmail.agents (address, tenant_id, webhook_url) VALUES ($1, $2, $3)`, address, r.tenant, url)
	return address
}

// run starts f under a context that stop ends; stop waits for it.
func (r *rig) run(f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			require.NoError(r.t, <-done)
		}
	}
	r.t.Cleanup(stop)
	return stop
}

// deliverer makes a deliverer for endpoints on this machine.
func (r *rig) deliverer(change ...func(*agentwebhook.Options)) *agentwebhook.Deliverer {
	o := agentwebhook.Options{AllowHTTP: true, AllowNetworks: loopback, Drain: 2 * time.Second, Log: zaptest.NewLogger(r.t)}
	for _, f := range change {
		f(&o)
	}
	return agentwebhook.New(r.open(), r.nc, o)
}

// mailTo returns the n-th mail to the agents.
func mailTo(n int, to ...string) []byte {
	return fmt.Appendf(nil, "From: Ann <ann@example.net>\r\nTo: %s\r\nReply-To: Desk <desk@example.net>, ann@example.net\r\n"+
		"Subject: Mail %d\r\nMessage-ID: <%d@agents.example.net>\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\n\r\nHello, this is mail %d.\r\n",
		strings.Join(to, ", "), n, n, n)
}

// send sends a mail over SMTP and requires that it is accepted.
func (r *rig) send(mail []byte, to ...string) {
	r.t.Helper()
	require.NoError(r.t, smtp.SendMail(r.smtp, nil, "bounces@example.net", to, mail))
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

// row is the part of a delivery that the tests check.
type row struct {
	Message   events.MessageID
	Status    string
	Attempts  int
	Code      *int
	Error     *string
	NextIn    *float64 // seconds
	ExpiresIn float64  // seconds
	Finished  bool
}

func (r *rig) rows(agent string) []row {
	r.t.Helper()
	rows, err := r.pool.Query(context.Background(), `SELECT message_id, status, attempts, last_status_code, last_error,
			extract(epoch FROM next_retry_at - coalesce(last_attempt_at, created_at))::float8, extract(epoch FROM expires_at - created_at)::float8, finished_at IS NOT NULL
		FROM fanmail.webhook_deliveries WHERE agent_id = $1 ORDER BY created_at`, agent)
	require.NoError(r.t, err)
	defer rows.Close()
	var out []row
	for rows.Next() {
		var v row
		require.NoError(r.t, rows.Scan(&v.Message, &v.Status, &v.Attempts, &v.Code, &v.Error, &v.NextIn, &v.ExpiresIn, &v.Finished))
		out = append(out, v)
	}
	require.NoError(r.t, rows.Err())
	return out
}

// until waits until the agent's only delivery satisfies ok.
func (r *rig) until(agent string, ok func(row) bool) row {
	r.t.Helper()
	var last row
	require.Eventually(r.t, func() bool {
		rows := r.rows(agent)
		if len(rows) != 1 {
			return false
		}
		last = rows[0]
		return ok(last)
	}, 60*time.Second, 20*time.Millisecond)
	return last
}

// makeDue makes every pending delivery due now.
func (r *rig) makeDue() {
	r.t.Helper()
	r.exec(`UPDATE fanmail.webhook_deliveries SET next_retry_at = now() WHERE status = 'pending'`)
}

func payload(t *testing.T, p sink.Post) agentwebhook.Payload {
	t.Helper()
	var v agentwebhook.Payload
	require.NoError(t, json.Unmarshal(p.Body, &v))
	return v
}
