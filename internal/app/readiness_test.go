package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// standing reads /readyz.
func standing(t *testing.T, base string) (code int, r readiness) {
	t.Helper()
	code, body := get(t, base+"/readyz")
	require.NoError(t, json.Unmarshal([]byte(body), &r), body)
	return code, r
}

// stands waits until a process answers with a status, and gives the state of one of
// its components.
func stands(t *testing.T, base string, code int, status, component string, like func(health.State) bool) health.State {
	t.Helper()
	var found health.State
	require.Eventually(t, func() bool {
		got, r := standing(t, base)
		for _, s := range r.Components {
			if s.Name == component && like(s) {
				found = s
				return got == code && r.Status == status
			}
		}
		return false
	}, patience, 50*time.Millisecond, "%s: %s", component, status)
	return found
}

func withCode(code string) func(health.State) bool {
	return func(s health.State) bool { return s.Code == code }
}

// running starts a process until the test ends, and gives the address of its state.
func running(t *testing.T, run func(context.Context, *zap.Logger) error) (base string, logs *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, zap.New(core)) }()
	t.Cleanup(func() {
		stop()
		<-done //nolint:errcheck // without a database it may not drain in time
	})
	return statusURL(t, logs), logs
}

// databaseName gives the name of a pool's database, quoted.
func databaseName(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	var name string
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT current_database()`).Scan(&name))
	return pgx.Identifier{name}.Sanitize()
}

// TestAReadOnlyDatabaseMakesProcessesUnready makes new sessions read-only, ends the old
// ones, and takes it back.
func TestAReadOnlyDatabaseMakesProcessesUnready(t *testing.T) {
	t.Parallel()
	addr := pgtest.URL(t)
	admin := pgtest.Open(t, addr)
	db, broker, life := Database{URL: secret.Text(addr)}, NATS{URL: secret.Text(natstest.URL(t))}, Lifecycle{HTTPAddr: "127.0.0.1:0", Drain: time.Second}
	bases := map[string]string{}
	bases["api"], _ = running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunAPI(ctx, APIConfig{Database: db, NATS: broker, Lifecycle: life, Addr: "127.0.0.1:0"}, l)
	})
	bases["publisher"], _ = running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunPublisher(ctx, PublisherConfig{Database: db, NATS: broker, Lifecycle: life}, l)
	})
	bases["dispatcher"], _ = running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunDispatcher(ctx, DispatcherConfig{Database: db, NATS: broker, Lifecycle: life}, l)
	})
	for _, base := range bases {
		becomesReady(t, base)
	}
	name := databaseName(t, admin)
	cut := func(sql string) {
		_, err := admin.Exec(t.Context(), sql)
		require.NoError(t, err)
		_, err = admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'fanmail-%'`)
		require.NoError(t, err)
	}
	_, err := admin.Exec(t.Context(), `SELECT 1`) // the admin's session stays writable
	require.NoError(t, err)
	cut(`ALTER DATABASE ` + name + ` SET default_transaction_read_only = on`)
	for process, base := range bases {
		s := stands(t, base, http.StatusServiceUnavailable, readyNot, health.Database, withCode("25006"))
		require.True(t, s.Permanent, process)
		require.Contains(t, s.Remedy, "default_transaction_read_only", process)
		require.False(t, s.Since.IsZero(), process)
		status, _ := get(t, base+"/healthz")
		require.Equal(t, http.StatusOK, status, "%s lives", process)
	}
	_, err = admin.Exec(t.Context(), `ALTER DATABASE `+name+` RESET default_transaction_read_only`)
	require.NoError(t, err)
	for _, base := range bases {
		becomesReady(t, base)
	}
	_, body := get(t, bases["api"]+"/metrics")
	require.Contains(t, body, `fanmail_component_last_error_timestamp_seconds{code="25006",component="database"}`)
	require.Contains(t, body, `fanmail_component_failing{component="database"} 0`)
	_, r := standing(t, bases["api"])
	require.Equal(t, "25006", r.Components[0].Code, "the last error stays to be read, with its time")
}

// TestAMissingRightMakesAProcessUnready takes the right to write from a role.
func TestAMissingRightMakesAProcessUnready(t *testing.T) {
	t.Parallel()
	admin := pgtest.Pool(t)
	role, addr := newRole(t, admin, "")
	base, _ := running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunAPI(ctx, APIConfig{
			Database: Database{URL: secret.Text(addr)}, NATS: NATS{URL: secret.Text(natstest.URL(t))}, Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"}, Addr: "127.0.0.1:0",
		}, l)
	})
	becomesReady(t, base)
	_, err := admin.Exec(t.Context(), `REVOKE INSERT ON ALL TABLES IN SCHEMA fanmail FROM `+role)
	require.NoError(t, err)
	s := stands(t, base, http.StatusServiceUnavailable, readyNot, health.Database, withCode("42501"))
	require.Contains(t, s.Remedy, "fanmail migrate --grants")
}

// newRole creates a role with rights on all tables, and gives its name and the URL with
// which it connects.
func newRole(t *testing.T, admin *pgxpool.Pool, options string) (role, addr string) {
	t.Helper()
	ctx := context.Background()
	name := fmt.Sprintf("role_%d", time.Now().UnixNano())
	role = pgx.Identifier{name}.Sanitize()
	for _, sql := range []string{
		`CREATE ROLE ` + role + ` LOGIN ` + options,
		`GRANT USAGE ON SCHEMA fanmail TO ` + role,
		`GRANT ALL ON ALL TABLES IN SCHEMA fanmail TO ` + role,
		`GRANT ALL ON ALL SEQUENCES IN SCHEMA fanmail TO ` + role,
	} {
		_, err := admin.Exec(ctx, sql)
		require.NoError(t, err, sql)
	}
	t.Cleanup(func() {
		for _, sql := range []string{`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '` + name + `'`, `DROP OWNED BY ` + role, `DROP ROLE ` + role} {
			_, err := admin.Exec(ctx, sql)
			require.NoError(t, err, sql)
		}
	})
	u, err := url.Parse(admin.Config().ConnString())
	require.NoError(t, err)
	u.User = url.User(name)
	return role, u.String()
}

// TestAFullAccountMakesThePublisherUnready fills the account with a stream that is not
// Fanmail's, and empties it.
func TestAFullAccountMakesThePublisherUnready(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	addr := pgtest.URL(t)
	admin := pgtest.Open(t, addr)
	broker, _ := natstest.Configured(t, `jetstream { max_file: 12582912 }`)
	base, _ := running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunPublisher(ctx, PublisherConfig{
			Database: Database{URL: secret.Text(addr)}, NATS: NATS{URL: secret.Text(broker)}, Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"},
		}, l)
	})
	becomesReady(t, base)
	nc, err := nats.Connect(broker)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}, Discard: jetstream.DiscardNew})
	require.NoError(t, err)
	for err == nil {
		_, err = js.Publish(ctx, "other", make([]byte, 256<<10))
	}
	insert := func() {
		require.NoError(t, pgx.BeginFunc(ctx, admin, func(tx pgx.Tx) error {
			_, err := outbox.Insert(ctx, tx, events.Event{TenantID: events.NewRandom[events.TenantKind](), Type: events.EmailReceived, Data: json.RawMessage(`{"x":"` + strings.Repeat("x", 100<<10) + `"}`)})
			return err
		}))
	}
	for range 8 {
		insert()
	}
	s := stands(t, base, http.StatusServiceUnavailable, readyNot, "relay", func(s health.State) bool { return s.Status == health.Failing })
	require.True(t, s.Permanent, "%+v", s)
	require.NotEmpty(t, s.Remedy)
	require.NoError(t, js.DeleteStream(ctx, "OTHER"))
	becomesReady(t, base)
	_, r := standing(t, base)
	for _, s := range r.Components {
		require.False(t, s.LastSuccess.IsZero() && s.Name == "relay", "%+v", s)
	}
}

// TestAllWorksWithAConnectionLimitOfFour runs everything as a role with four connections.
func TestAllWorksWithAConnectionLimitOfFour(t *testing.T) {
	t.Parallel()
	admin := pgtest.Pool(t)
	_, addr := newRole(t, admin, "CONNECTION LIMIT 4")
	ready := make(chan Credentials, 1)
	base, logs := running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunUp(ctx, UpConfig{
			Dir: t.TempDir(), DatabaseURL: secret.Text(addr), HTTPAddr: "127.0.0.1:0", APIAddr: "127.0.0.1:0", SMTPAddr: "127.0.0.1:0",
			Ready: func(c Credentials) { ready <- c },
		}, l)
	})
	<-ready
	becomesReady(t, base)
	warned := logs.FilterMessageSnippet("the pool of connections is smaller than set").All()
	require.Len(t, warned, 1)
	require.Contains(t, warned[0].ContextMap()["limit"], "CONNECTION LIMIT of role role_")
	require.EqualValues(t, 4, warned[0].ContextMap()["limit_conns"])

	// Somebody else takes them all: the process goes on, and says what is wrong.
	var others []*pgx.Conn
	require.Eventually(t, func() bool {
		_, err := admin.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'fanmail-up'`)
		require.NoError(t, err)
		c, err := pgx.Connect(t.Context(), addr)
		if err == nil {
			others = append(others, c)
			return false
		}
		code, r := standing(t, base)
		return code == http.StatusServiceUnavailable && r.Status == readyNot && r.Components[0].Code == "53300"
	}, patience, 20*time.Millisecond)
	require.Contains(t, stands(t, base, http.StatusServiceUnavailable, readyNot, health.Database, withCode("53300")).Means, "CONNECTION LIMIT")
	require.NotEmpty(t, logs.FilterMessageSnippet("no connection is left").All())
	for _, c := range others {
		require.NoError(t, c.Close(t.Context()))
	}
	becomesReady(t, base)
}

// TestADispatcherWithoutABrokerIsReady starts one while no broker is there.
func TestADispatcherWithoutABrokerIsReady(t *testing.T) {
	t.Parallel()
	base, _ := running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunDispatcher(ctx, DispatcherConfig{
			Database: Database{URL: secret.Text(pgtest.URL(t))}, NATS: NATS{URL: secret.Text("nats://" + closedPort(t))}, Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0", Drain: time.Second},
		}, l)
	})
	s := stands(t, base, http.StatusOK, readyDegraded, health.Broker, withCode("unreachable"))
	require.Contains(t, s.Remedy, "FANMAIL_NATS_URL")
	s = stands(t, base, http.StatusOK, readyDegraded, "streams", func(s health.State) bool { return s.Error != "" })
	require.ErrorContains(t, stream.ErrAway, s.Error)
}
