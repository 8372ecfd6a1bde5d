package main

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestStatusShowsWhatTheProcessesLastMet has a publisher that can't publish, a
// dispatcher that is well, and one that is gone.
func TestStatusShowsWhatTheProcessesLastMet(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url, broker := pgtest.URL(t), natstest.URL(t)
	pool := pgtest.Open(t, url)
	_, code := fanmail(t, t.TempDir(), "", "status", "--database-url", url)
	require.Equal(t, 1, code, "no process runs")

	r := health.NewRegistry()
	r.Component(health.Database, true, 0).Report(nil)
	require.NoError(t, health.Beat(ctx, pool, &health.Process{ID: [16]byte{1}, Kind: "dispatcher", Name: "well-1", Version: "v1", Components: r.States()}))
	require.NoError(t, health.Beat(ctx, pool, &health.Process{ID: [16]byte{2}, Kind: "dispatcher", Name: "gone-1", Version: "v1", Components: r.States()}))
	lost := health.NewRegistry()
	lost.Component(health.Broker, true, 0).Report(&jetstream.APIError{ErrorCode: 10027, Description: "maximum number of streams reached"})
	require.NoError(t, health.Beat(ctx, pool, &health.Process{ID: [16]byte{2}, Kind: "dispatcher", Name: "gone-1", Version: "v1", Components: lost.States()}))
	_, err := pool.Exec(ctx, `UPDATE fanmail.processes SET seen = seen - interval '5 minutes' WHERE name = 'gone-1'`)
	require.NoError(t, err)
	out := must(t, t.TempDir(), "", "status", "--database-url", url)
	require.Regexp(t, `ok +dispatcher +well-1`, out)
	require.Regexp(t, `gone +dispatcher +gone-1`, out)
	require.Contains(t, out, "maximum number of streams reached", "its last error may be why")
	require.NotContains(t, out, "raise the account's max_streams", "nothing needs to be done for a process that is gone")

	r.Component("relay", true, 0).Report(&jetstream.APIError{ErrorCode: 10023, Description: "insufficient resources"})
	require.NoError(t, health.Beat(ctx, pool, &health.Process{ID: [16]byte{3}, Kind: "publisher", Name: "stuck-1", Version: "v1", Components: r.States()}))
	out, code = fanmail(t, t.TempDir(), "", "status", "--database-url", url)
	require.Equal(t, 1, code)
	require.Regexp(t, `failing +publisher +stuck-1`, out)
	require.Contains(t, out, "JetStream storage is full")
	require.Contains(t, out, "raise max_file")
	require.LessOrEqual(t, strings.Count(out, "\n"), 24, "it is one screen")

	found := examine(t, 1, "--database-url", url, "--nats-url", broker)
	require.Equal(t, app.FindingFail, found["publisher stuck-1, relay"].Status)
	require.Contains(t, found["publisher stuck-1, relay"].Fix, "raise max_file")
	require.Equal(t, app.FindingOK, found["writes"].Status)
	for check := range found {
		require.NotContains(t, check, "gone-1")
	}
}

// TestTheDoctorSeesWhatKeepsProcessesFromWorking has a read-only database, and a broker
// whose account is too small and whose subjects another stream takes.
func TestTheDoctorSeesWhatKeepsProcessesFromWorking(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	url := pgtest.URL(t)
	broker, _ := natstest.Configured(t, `
		jetstream {}
		accounts { FANMAIL { jetstream { max_mem: 256MB, max_file: 16MB, max_streams: 7, max_consumers: 20 }, users: [ {user: fanmail, password: fanmail} ] } }
		no_auth_user: fanmail`)
	nc, err := nats.Connect(broker)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "FOREIGN", Subjects: []string{"mail.>"}, Discard: jetstream.DiscardNew})
	require.NoError(t, err)
	for err == nil {
		_, err = js.Publish(ctx, "mail.other", make([]byte, 512<<10))
	}
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(ctx) })
	var database string
	require.NoError(t, conn.QueryRow(ctx, `SELECT current_database()`).Scan(&database))
	_, err = conn.Exec(ctx, `ALTER DATABASE `+pgx.Identifier{database}.Sanitize()+` SET default_transaction_read_only = on`)
	require.NoError(t, err)

	out, code := fanmail(t, t.TempDir(), "", "doctor", "--database-url", url, "--nats-url", broker)
	require.Equal(t, 1, code)
	for _, text := range []string{
		"writes: the database takes none", "look at default_transaction_read_only",
		"it can't be told which are alive", "from before the database took no writes",
		"stream FOREIGN takes subjects of MAIL_EVENTS", "nats stream edit",
		"may have 20 consumers; Fanmail needs 32", "may have 7 streams and has 1, of which 0 are Fanmail's 7", "MB of storage are used",
	} {
		require.Contains(t, out, text)
	}
	require.NotContains(t, out, "they create it", "no process can")
	require.NotContains(t, out, "none is alive", "dispatchers may run")

	out, code = fanmail(t, t.TempDir(), "", "status", "--database-url", url)
	require.Equal(t, 1, code)
	require.Contains(t, out, "look at default_transaction_read_only")
}

// TestARefusedStatusNamesTheRemedy connects with a database that is not there.
func TestARefusedStatusNamesTheRemedy(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	i := strings.LastIndex(url, "/")
	out, code := fanmail(t, t.TempDir(), "", "status", "--database-url", url[:i]+"/absent"+url[i+strings.IndexAny(url[i:]+"?", "?"):])
	require.Equal(t, 1, code)
	require.Contains(t, out, "create it, or correct its name")
}
