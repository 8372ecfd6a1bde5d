package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// examine returns the doctor's findings by check.
func examine(t *testing.T, code int, args ...string) map[string]app.Finding {
	t.Helper()
	out, got := fanmail(t, t.TempDir(), "", append([]string{"doctor", "--json"}, args...)...)
	require.Equal(t, code, got, out)
	var report struct {
		OK       bool          `json:"ok"`
		Findings []app.Finding `json:"findings"`
	}
	require.NoError(t, json.NewDecoder(strings.NewReader(out)).Decode(&report), out)
	require.Equal(t, code == 0, report.OK)
	by := map[string]app.Finding{}
	for _, f := range report.Findings {
		by[f.Check] = f
		require.Equal(t, f.Status == app.FindingOK, f.Fix == "", "a finding that is not ok has a fix: %+v", f)
	}
	return by
}

func TestTheDoctorFindsARunningSystemWell(t *testing.T) {
	t.Parallel()
	dir := up(t)
	require.Eventually(t, func() bool {
		out, code := fanmail(t, dir, "", "doctor")
		return code == 0 && out != ""
	}, patience, 100*time.Millisecond)
	require.Contains(t, must(t, dir, "", "doctor"), "every partition has an owner")
}

func TestTheDoctorNamesEachFaultAndItsFix(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	empty, broker := pgtest.EmptyURL(t), natstest.URL(t)
	found := examine(t, 1, "--database-url", empty, "--nats-url", broker)
	require.Equal(t, app.FindingOK, found["database"].Status)
	require.Equal(t, app.FindingOK, found["clock of the database"].Status)
	require.Equal(t, app.FindingFail, found["schema"].Status)
	require.Contains(t, found["schema"].Fix, "fanmail migrate")
	require.Equal(t, app.FindingFail, found["stream MAIL_EVENTS"].Status)
	require.Contains(t, found["stream MAIL_EVENTS"].Detail, "missing")

	// A schema without running processes.
	url := pgtest.URL(t)
	conn, err := pgx.Connect(ctx, url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(ctx) })
	_, err = conn.Exec(ctx, `WITH ten AS (INSERT INTO fanmail.tenants (id, name) VALUES (gen_random_uuid(), 'x') RETURNING id),
		w AS (INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) SELECT gen_random_uuid(), id, 'https://nowhere.invalid/x', '{}', '' FROM ten)
		INSERT INTO fanmail.outbox (tenant_id, event_id, created_at) SELECT id, gen_random_uuid(), now() - interval '1 hour' FROM ten`)
	require.NoError(t, err)
	nc, err := nats.Connect(broker)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: stream.Events, Subjects: []string{"mail.events.>"}, Retention: jetstream.WorkQueuePolicy})
	require.NoError(t, err)
	found = examine(t, 1, "--database-url", url, "--nats-url", broker)
	require.Equal(t, app.FindingOK, found["schema"].Status)
	require.Equal(t, app.FindingOK, found["partitions"].Status)
	require.Contains(t, found["dispatchers"].Fix, "start a dispatcher")
	require.Equal(t, app.FindingWarn, found["outbox"].Status)
	require.Contains(t, found["DNS"].Detail, "nowhere.invalid")
	require.Contains(t, found["stream MAIL_EVENTS"].Detail, "retention")
	require.Equal(t, app.FindingFail, found["stream MAIL_EVENTS"].Status)

	// No partitions for today, and an unreachable broker.
	_, err = conn.Exec(ctx, `DO $$ DECLARE p text; BEGIN
		FOR p IN SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^events_2' LOOP EXECUTE format('DROP TABLE fanmail.%I', p); END LOOP; END $$`)
	require.NoError(t, err)
	found = examine(t, 1, "--database-url", url, "--nats-url", "nats://127.0.0.1:1")
	require.Equal(t, app.FindingFail, found["partitions"].Status)
	require.Contains(t, found["broker"].Fix, "FANMAIL_NATS_URL")
	found = examine(t, 1, "--database-url", "postgres://127.0.0.1:1/x", "--nats-url", "nats://127.0.0.1:1")
	require.Contains(t, found["database"].Fix, "FANMAIL_DATABASE_URL")
	found = examine(t, 1)
	require.Contains(t, found["database"].Fix, "fanmail up")
}

// TestTheDoctorNamesTheDomainWithoutJetStream asks for a domain that no server has.
func TestTheDoctorNamesTheDomainWithoutJetStream(t *testing.T) {
	t.Parallel()
	found := examine(t, 1, "--database-url", pgtest.EmptyURL(t), "--nats-url", natstest.URL(t), "--nats-js-domain", "nowhere")
	require.Equal(t, app.FindingFail, found["broker"].Status)
	require.Contains(t, found["broker"].Detail, "without JetStream in domain nowhere")
	require.Contains(t, found["broker"].Fix, "connect the leaf node")
}

// TestAnInterruptedDoctorNamesNoFault interrupts it while it waits for a server that never answers.
func TestAnInterruptedDoctorNamesNoFault(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = silent.Close() })
	var out screen
	at := silent.Addr().String()
	c := command(t, &out, "doctor", "--database-url=postgres://fan@"+at+"/x", "--nats-url=nats://"+at)
	require.NoError(t, c.Start())
	conn, err := silent.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, c.Process.Signal(os.Interrupt))
	require.Error(t, c.Wait())
	require.Equal(t, "fanmail: stopped before everything was checked\n", out.String())
}
