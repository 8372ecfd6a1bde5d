package app

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// patience bounds what is waited for; nothing is asserted about it.
const patience = time.Minute

// start runs a publisher until the test ends and gives its log. The error of
// the run, if any, comes on the channel.
func start(t *testing.T, c PublisherConfig) (*observer.ObservedLogs, <-chan error) {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- RunPublisher(ctx, c, zap.New(core))
		close(done)
	}()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done, "a stopped process has no error")
	})
	return logs, done
}

// statusURL gives the address of a process's status server once it is there.
func statusURL(t *testing.T, logs *observer.ObservedLogs) string {
	t.Helper()
	var addr string
	require.Eventually(t, func() bool {
		for _, e := range logs.FilterMessage("health and metrics").All() {
			addr = e.ContextMap()["addr"].(string)
		}
		return addr != ""
	}, patience, 5*time.Millisecond)
	return "http://" + addr
}

func get(t *testing.T, target string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

func becomesReady(t *testing.T, base string) {
	t.Helper()
	require.Eventually(t, func() bool {
		status, _ := get(t, base+"/readyz")
		return status == http.StatusOK
	}, patience, 10*time.Millisecond)
}

func says(t *testing.T, logs *observer.ObservedLogs, message string, times int) {
	t.Helper()
	require.Eventually(t, func() bool { return logs.FilterMessage(message).Len() >= times },
		patience, 5*time.Millisecond, "the log says %q", message)
}

// closedPort gives an address that nothing listens on.
func closedPort(t *testing.T) string {
	t.Helper()
	port, err := freeport.Find()
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// forwardPort makes addr lead to another address until the test ends.
func forwardPort(t *testing.T, addr, to string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
}

func TestAnUnreachableDatabaseIsWaitedFor(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	postgres := u.Host
	u.Host = closedPort(t)
	logs, done := start(t, PublisherConfig{
		Database: Database{URL: secret.Text(u.String())}, NATS: NATS{URL: secret.Text(natstest.URL(t))}, Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"},
	})
	base := statusURL(t, logs)
	says(t, logs, "waiting for the database", 3)
	status, _ := get(t, base+"/healthz")
	require.Equal(t, http.StatusOK, status, "a process that waits is healthy")
	status, body := get(t, base+"/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status, "but not ready")
	require.Contains(t, body, "waiting for the database")
	require.Empty(t, done, "the process goes on")

	forwardPort(t, u.Host, postgres)
	becomesReady(t, base)
	status, body = get(t, base+"/metrics")
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "go_goroutines")
}

func TestAnUnreachableBrokerHoldsUpNoProcess(t *testing.T) {
	t.Parallel()
	addr := closedPort(t)
	logs, done := start(t, PublisherConfig{
		Database:  Database{URL: secret.Text(pgtest.URL(t))},
		NATS:      NATS{URL: secret.Text("nats://user:hunter2@" + addr)},
		Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"},
	})
	base := statusURL(t, logs)
	says(t, logs, "starting without the broker: deliveries go past it until it is there", 1)
	says(t, logs, "working", 1)
	require.Empty(t, done, "the process goes on")
	for _, e := range logs.All() {
		require.NotContains(t, fmt.Sprint(e.ContextMap()), "hunter2")
	}

	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	n, err := net.DefaultResolver.LookupPort(t.Context(), "tcp", port)
	require.NoError(t, err)
	srv, err := devserver.StartNATS(devserver.NATSOptions{Dir: t.TempDir(), Port: n})
	require.NoError(t, err)
	t.Cleanup(srv.Stop)
	becomesReady(t, base)
}

func TestAProcessThatIsStoppedWhileItWaitsHasNoError(t *testing.T) {
	t.Parallel()
	logs, _ := start(t, PublisherConfig{
		Database: Database{URL: secret.Text("postgres://fanmail@" + closedPort(t) + "/x")}, NATS: NATS{URL: "nats://127.0.0.1:1"},
	})
	says(t, logs, "waiting for the database", 1)
}

func TestASchemaThatDoesNotFitStopsTheProcessWithOneLine(t *testing.T) {
	t.Parallel()
	broker := NATS{URL: secret.Text(natstest.URL(t))}
	run := func(c Database) error {
		return RunPublisher(t.Context(), PublisherConfig{Database: c, NATS: broker}, zap.NewNop())
	}
	var schema *migrations.SchemaError

	empty := Database{URL: secret.Text(pgtest.EmptyURL(t))}
	err := run(empty)
	require.ErrorAs(t, err, &schema)
	require.Contains(t, oneLine(err), "FANMAIL_MIGRATE=true")

	version, err := Migrate(t.Context(), empty, Waiting{}, false, zap.NewNop())
	require.NoError(t, err)
	later(t, pgtest.Open(t, empty.URL.Reveal()), version+1, version+1)
	for _, empty.Migrate = range []bool{false, true} {
		err = run(empty)
		require.ErrorAs(t, err, &schema, "it shuts this one out")
		require.Contains(t, oneLine(err), "run a newer Fanmail")
	}
}

// later makes the database one that a release of that schema version has
// migrated, on which those from oldest on may run.
func later(t *testing.T, pool *pgxpool.Pool, version, oldest int64) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.goose_db_version (version_id, is_applied) VALUES ($1, true)`, version)
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), fmt.Sprintf(`COMMENT ON TABLE fanmail.goose_db_version IS 'oldest version that may run: %d'`, oldest))
	require.NoError(t, err)
}

func TestAProcessStartsOnTheSchemaOfALaterRelease(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	version, err := migrations.Version()
	require.NoError(t, err)
	later(t, pgtest.Open(t, url), version+3, version)
	logs, _ := start(t, PublisherConfig{
		Database: Database{URL: secret.Text(url)}, NATS: NATS{URL: secret.Text(natstest.URL(t))}, Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"},
	})
	becomesReady(t, statusURL(t, logs))
	warned := logs.FilterMessageSnippet("migrated by a later release").All()
	require.Len(t, warned, 1)
	require.Equal(t, map[string]any{"schema_version": version + 3, "binary_version": version}, warned[0].ContextMap())
	have, err := Migrate(t.Context(), Database{URL: secret.Text(url)}, Waiting{}, true, zap.NewNop())
	require.NoError(t, err, "and leaves the rights to the later release: here there are no roles to give them to")
	require.Equal(t, version+3, have)
}

func TestAMigratingProcessBringsTheSchemaUpToDate(t *testing.T) {
	t.Parallel()
	c := PublisherConfig{
		Database:  Database{URL: secret.Text(pgtest.EmptyURL(t)), Migrate: true},
		NATS:      NATS{URL: secret.Text(natstest.URL(t))},
		Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"},
	}
	logs, _ := start(t, c)
	becomesReady(t, statusURL(t, logs))
	schema, err := migrations.Read(t.Context(), pgtest.Open(t, c.Database.URL.Reveal()))
	require.NoError(t, err)
	require.NoError(t, schema.Check())
}

func TestADangerousStreamStopsTheProcessWithOneLine(t *testing.T) {
	t.Parallel()
	broker := natstest.URL(t)
	nc, err := nats.Connect(broker)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: stream.Events, Subjects: []string{"mail.events.>"}, Retention: jetstream.WorkQueuePolicy,
	})
	require.NoError(t, err)
	err = RunPublisher(t.Context(), PublisherConfig{Database: Database{URL: secret.Text(pgtest.URL(t))}, NATS: NATS{URL: secret.Text(broker)}}, zap.NewNop())
	var mismatch *stream.MismatchError
	require.ErrorAs(t, err, &mismatch)
	require.NotContains(t, err.Error(), "\n")
}

func TestATakenPortNamesTheFlag(t *testing.T) {
	t.Parallel()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	addr := l.Addr().String()
	err = RunPublisher(t.Context(), PublisherConfig{
		Database: Database{URL: "postgres://x@127.0.0.1:1/x"}, NATS: NATS{URL: "nats://127.0.0.1:1"},
		Lifecycle: Lifecycle{HTTPAddr: addr},
	}, zap.NewNop())
	require.EqualError(t, err, addr+" is in use: stop what listens there, or give another address with --http-addr (FANMAIL_HTTP_ADDR)")

	for _, flag := range []string{"--api", "--smtp"} {
		c := UpConfig{Dir: t.TempDir(), APIAddr: "127.0.0.1:0", SMTPAddr: "127.0.0.1:0"}
		if flag == "--api" {
			c.APIAddr = addr
		} else {
			c.SMTPAddr = addr
		}
		err := RunUp(t.Context(), c, zap.NewNop())
		require.ErrorContains(t, err, "is in use")
		require.ErrorContains(t, err, "with "+flag+" ")
	}
}

func TestAComponentThatFailsStopsTheOthersAndIsNamed(t *testing.T) {
	t.Parallel()
	drained := make(chan struct{})
	err := runProcess(t.Context(), "test", Database{URL: secret.Text(pgtest.URL(t))}, NATS{URL: secret.Text(natstest.URL(t))}, Lifecycle{}, zap.NewNop(),
		func(_ context.Context, p *process) error {
			p.add("steady", func(ctx context.Context) error { <-ctx.Done(); close(drained); return nil })
			p.add("broken", func(context.Context) error { return io.ErrUnexpectedEOF })
			return nil
		})
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, "broken")
	<-drained
}

func TestAComponentThatDoesNotDrainIsNamed(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	ctx, stop := context.WithCancel(t.Context())
	err := runProcess(ctx, "test", Database{URL: secret.Text(pgtest.URL(t))}, NATS{URL: secret.Text(natstest.URL(t))}, Lifecycle{Drain: time.Millisecond}, zap.NewNop(),
		func(_ context.Context, p *process) error {
			p.add("steady", func(ctx context.Context) error { <-ctx.Done(); return nil })
			p.add("stubborn", func(context.Context) error { stop(); <-release; return nil })
			return nil
		})
	require.ErrorContains(t, err, "stubborn did not drain")
	require.NotContains(t, err.Error(), "steady")
}
