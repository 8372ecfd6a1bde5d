package e2e_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/process"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// long selects the long form of the tests that have one.
var long = os.Getenv("FANMAIL_LONG") != ""

// fleet is a publisher and any number of dispatchers, each a process, on a NATS process and a database
// that outlive them all.
type fleet struct {
	t    testing.TB
	pool *pgxpool.Pool
	sink *sink.Sink
	bin  string
	logs string
	env  []string

	mu      sync.Mutex
	running map[string]*process.Process
}

func newFleet(ctx context.Context, t testing.TB) *fleet {
	t.Helper()
	dir := t.TempDir()
	s, err := sink.Start(sink.Options{Keep: sink.KeepTimes})
	require.NoError(t, err)
	t.Cleanup(s.Close)
	database, nats := pgtest.URL(t), freeAddr(t)
	f := &fleet{t: t, pool: pgtest.Open(t, database), sink: s, bin: built(t), logs: dir, running: map[string]*process.Process{}}
	f.env = []string{
		"FANMAIL_DATABASE_URL=" + database, "FANMAIL_DATABASE_MAX_CONNS=8", "FANMAIL_NATS_URL=nats://" + nats,
		"FANMAIL_ALLOW_HTTP=true", "FANMAIL_ALLOW_NETWORKS=127.0.0.0/8",
	}
	t.Cleanup(f.end)
	_, port, err := net.SplitHostPort(nats)
	require.NoError(t, err)
	f.run(ctx, process.Spec{Name: "nats", Bin: filepath.Join(f.bin, "natsd"), Logs: dir, Ready: nats, Args: []string{"-dir", filepath.Join(dir, "nats"), "-port", port}})
	f.command(ctx, "publisher", "publisher")
	return f
}

// command starts one of Fanmail's commands under a name of its own.
func (f *fleet) command(ctx context.Context, name, command string) {
	f.t.Helper()
	health := freeAddr(f.t)
	f.run(ctx, process.Spec{
		Name: name, Bin: filepath.Join(f.bin, command), Logs: f.logs, Ready: "http://" + health + "/readyz",
		Env: append([]string{"FANMAIL_HTTP_ADDR=" + health, "FANMAIL_DISPATCHER_NAME=" + name}, f.env...),
	})
}

func (f *fleet) dispatcher(ctx context.Context, name string) {
	f.t.Helper()
	f.command(ctx, name, "dispatcher")
}

func (f *fleet) run(ctx context.Context, s process.Spec) {
	f.t.Helper()
	p, err := process.Start(ctx, s)
	require.NoError(f.t, err)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[s.Name] = p
}

func (f *fleet) process(name string) *process.Process {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[name]
}

// take hands a process to the caller, who kills or stops it.
func (f *fleet) take(name string) *process.Process {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.running[name]
	delete(f.running, name)
	return p
}

func (f *fleet) kill(name string) { f.take(name).Kill() }

func (f *fleet) stop(ctx context.Context, name string) {
	f.t.Helper()
	require.NoError(f.t, f.take(name).Stop(ctx))
}

// end kills what still runs. If the test failed it prints the end of its output.
func (f *fleet) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, p := range f.running {
		p.Kill()
		if f.t.Failed() {
			f.t.Logf("the output of %s ends:\n%s", name, p.Tail(15))
		}
	}
}

// sql runs a statement for the test's own purposes.
func (f *fleet) sql(ctx context.Context, statement string, args ...any) {
	f.t.Helper()
	_, err := f.pool.Exec(ctx, statement, args...)
	require.NoError(f.t, err)
}

func (f *fleet) count(ctx context.Context, query string, args ...any) (n int) {
	if err := f.pool.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		f.t.Errorf("%s: %v", query, err)
	}
	return n
}

func (f *fleet) tenant(ctx context.Context) events.TenantID {
	f.t.Helper()
	id := events.NewRandom[events.TenantKind]()
	f.sql(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'fleet')`, id)
	return id
}

// webhook registers a webhook for the events that have the label.
func (f *fleet) webhook(ctx context.Context, tenant events.TenantID, url, label string, maxInFlight int, strict bool) events.WebhookID {
	f.t.Helper()
	w := subscribers.Webhook{
		URL: url, Events: []events.Type{events.EmailReceived}, Enabled: true, MaxInFlight: maxInFlight,
		Filters: subscribers.Filters{Labels: []string{label}},
	}
	if strict {
		w.Ordering = subscribers.OrderingStrict
	}
	limits := subscribers.Limits{WebhooksPerTenant: 1000, AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	made, _, err := subscribers.NewStore(f.pool, limits).Create(ctx, tenant, w)
	require.NoError(f.t, err)
	return made.ID
}
