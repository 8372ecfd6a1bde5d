package subscribers_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestTheRegistrySeesChangesUnderTransactionIDsThatACrashTookBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	dir, err := os.MkdirTemp("", "fanmail-registry-") //nolint:usetesting // Postgres's user must walk through it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	// A commit that does not wait for the disk reaches it late.
	o := devserver.PostgresOptions{Dir: dir, Settings: map[string]string{"wal_writer_delay": "10s", "bgwriter_lru_maxpages": "0", "fsync": "off"}}
	server, err := devserver.StartPostgres(ctx, o)
	require.NoError(t, err)
	t.Cleanup(func() { server.Stop() })
	o.Port = server.Port

	pool, err := pg.Open(ctx, server.URL("postgres"), 2)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, migrations.Up(ctx, pool))
	s := &tenantStore{Store: subscribers.NewStore(pool, subscribers.Limits{}), pool: pool, tenant: events.NewRandom[events.TenantKind]()}
	_, err = pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, s.tenant)
	require.NoError(t, err)
	before := s.webhook(t)
	mine, err := pg.Open(ctx, server.URL("postgres"), 2)
	require.NoError(t, err)
	t.Cleanup(mine.Close)
	r := subscribers.NewRegistry(mine, nil, zaptest.NewLogger(t))

	next := func() (id int64) {
		require.NoError(t, pool.QueryRow(ctx, `SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint`).Scan(&id))
		return id
	}
	// If a page of the log fills up at that moment, it is written to disk. Then the
	// test tries again.
	var lost int64
	for took := false; !took; {
		for range 50 {
			_, err := pool.Exec(ctx, `WITH off AS (SELECT set_config('synchronous_commit', 'off', true)) SELECT pg_current_xact_id() FROM off`)
			require.NoError(t, err)
		}
		require.NoError(t, r.Load(ctx))
		require.NotNil(t, r.Get(before.ID))
		lost = next()

		b, err := os.ReadFile(filepath.Join(server.DataDir, "postmaster.pid"))
		require.NoError(t, err)
		pid, err := strconv.Atoi(strings.SplitN(string(b), "\n", 2)[0])
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, syscall.SIGQUIT))
		server.Stop()
		server, err = devserver.StartPostgres(ctx, o)
		require.NoError(t, err)
		pool.Reset()
		mine.Reset()
		took = next() < lost-10
	}
	after := s.webhook(t)
	off := false
	_, err = s.Update(ctx, s.tenant, before.ID, subscribers.Patch{Enabled: &off})
	require.NoError(t, err)
	require.Less(t, next(), lost, "the crash must have taken transaction ids back")

	require.NoError(t, r.Load(ctx))
	require.NotNil(t, r.Get(after.ID))
	require.False(t, r.Get(before.ID).Enabled, "it was known before, and changed under a smaller transaction id")
	matched := r.Match(nil, &events.Record{TenantID: s.tenant, Type: events.EmailReceived}, nil)
	require.Len(t, matched, 1, "the list from before the crash is gone")
	require.Equal(t, after.ID, matched[0].ID)
}

// A goroutine that has stored a change may be held up before a watcher hears of it. Others store later ones meanwhile.
func TestWatchersOfTheRegistryHearOfChangesInTheirOrder(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	s := newTenantStore(t)
	w := s.webhook(t)
	r := subscribers.NewRegistry(s.pool, nil, zaptest.NewLogger(t))
	require.NoError(t, r.Load(ctx))
	var calls atomic.Int32
	held, release := make(chan struct{}), make(chan struct{})
	var mu sync.Mutex
	var told []string
	r.Watch(func(e *subscribers.Entry) {
		if calls.Add(1) == 1 {
			close(held)
			<-release
		}
		mu.Lock()
		defer mu.Unlock()
		told = append(told, e.URL)
		if e.Deleted {
			told = append(told, "deleted")
		}
	})
	move := func(url string) {
		t.Helper()
		_, err := s.Update(ctx, s.tenant, w.ID, subscribers.Patch{URL: &url})
		require.NoError(t, err)
	}
	const first, second = "https://first.example.com/", "https://second.example.com/"
	move(first)
	loaded := make(chan error, 1)
	go func() { loaded <- r.Load(ctx) }()
	<-held
	move(second)
	require.NoError(t, r.Load(ctx), "it does not wait for the other's watcher")
	require.NoError(t, s.Delete(ctx, s.tenant, w.ID))
	require.NoError(t, r.Load(ctx))
	close(release)
	require.NoError(t, <-loaded)
	require.Equal(t, []string{first, second, second, "deleted"}, told)
}

// A server, or a proxy before it, may acknowledge a statement and never answer. The one who records outcomes waits for the
// registry where a webhook was disabled.
func TestTheRegistryStopsToWaitForADatabaseThatAnswersNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cfg, err := pg.Parse(secret.Text(pgtest.URL(t)))
	require.NoError(t, err)
	proxy := pgtest.NewProxy(t, net.JoinHostPort(cfg.ConnConfig.Host, strconv.Itoa(int(cfg.ConnConfig.Port))), "tcp", "127.0.0.1:0")
	at := netip.MustParseAddrPort(proxy.Addr())
	cfg.ConnConfig.Host, cfg.ConnConfig.Port = at.Addr().String(), at.Port()
	pg.Configure(cfg)
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	r := subscribers.NewRegistry(pool, nil, zaptest.NewLogger(t))
	require.NoError(t, r.Load(ctx))
	r.Wait(100 * time.Millisecond)
	proxy.Freeze()
	require.ErrorIs(t, r.Load(ctx), context.DeadlineExceeded)
}
