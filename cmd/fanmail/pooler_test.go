//go:build pooler

package main

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgbouncer"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// TestFanmailWorksThroughAPooler migrates and runs all of Fanmail through PgBouncer: it is refused with the remedy while
// the role lacks the engine's settings, and works as soon as the remedy was followed to the letter.
func TestFanmailWorksThroughAPooler(t *testing.T) {
	t.Parallel()
	ignored := []string{
		"enable_hashjoin", "enable_mergejoin", "enable_seqscan", "enable_bitmapscan", "plan_cache_mode", "jit", "statement_timeout",
		"lock_timeout", "client_min_messages", "fanmail.connection",
	}
	for name, o := range map[string]pgbouncer.Options{
		"transaction mode": {Mode: "transaction"},
		"session mode":     {Mode: "session"},
		"transaction mode, which ignores parameters": {Mode: "transaction", Ignore: ignored},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			direct := pgtest.EmptyURL(t)
			url, broker := pgbouncer.Start(t, direct, o), natstest.URL(t)
			servers := []string{"--database-url", url, "--nats-url", broker}
			local := []string{"--api", "127.0.0.1:0", "--smtp", "127.0.0.1:0"}
			out, code := fanmail(t, t.TempDir(), "", append([]string{"migrate"}, servers[:2]...)...)
			require.Equal(t, 1, code)
			require.Contains(t, out, "a connection pooler before Postgres")
			for _, statement := range regexp.MustCompile(`ALTER ROLE [^;]*;`).FindAllString(out, -1) {
				_, err := pgtest.Open(t, direct).Exec(t.Context(), statement)
				require.NoError(t, err, statement)
			}
			url = pgbouncer.Start(t, direct, o) // as if it had been reconnected
			servers[1] = url
			require.Contains(t, must(t, t.TempDir(), "", append([]string{"migrate"}, servers[:2]...)...), "the schema is at version")
			require.Contains(t, must(t, t.TempDir(), "", append(append([]string{"demo"}, local...), servers...)...), "attempt 1  verified")
			replaysThrough(t, url, broker)
			require.Empty(t, leftLocks(t, direct))
		})
	}
}

// replaysThrough creates events and replays them to a webhook.
func replaysThrough(t *testing.T, url, broker string) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan app.Credentials, 1), make(chan error, 1)
	go func() {
		done <- app.RunUp(ctx, app.UpConfig{
			Dir: dir, APIAddr: "127.0.0.1:0", SMTPAddr: "127.0.0.1:0", DatabaseURL: secret.Text(url), NATSURL: secret.Text(broker),
			Ready: func(c app.Credentials) { ready <- c },
		}, zap.NewNop())
	}()
	defer func() {
		cancel()
		require.NoError(t, <-done)
	}()
	select {
	case <-ready:
	case err := <-done:
		done <- err
		t.FailNow()
	}
	receiver := sink.New(t)
	const created, demos = 300, 1
	for range created {
		must(t, dir, `{"n":1}`, "events", "create", "email.received")
	}
	require.Eventually(t, func() bool {
		return object(t, must(t, dir, "", "stats", "--json"))["events"].(map[string]any)["waiting"] == 0.0
	}, patience, 20*time.Millisecond)
	hook := object(t, must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.received", "--json"))["id"].(string)
	replayed := object(t, must(t, dir, "", "replay", "--since", "1h", "--webhook", hook, "--json"))
	require.Equal(t, "completed", replayed["state"])
	require.EqualValues(t, created+demos, replayed["delivered"])
}

// leftLocks returns the advisory locks in the database that sessions hold outside transactions.
func leftLocks(t *testing.T, url string) []string {
	t.Helper()
	rows, err := pgtest.Open(t, url).Query(t.Context(), `SELECT l.objid::text || ' ' || a.state FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.locktype = 'advisory' AND a.datname = current_database() AND a.state = 'idle'`)
	require.NoError(t, err)
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		out = append(out, strings.TrimSpace(s))
	}
	return out
}
