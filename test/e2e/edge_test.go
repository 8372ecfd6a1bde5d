package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/postgres"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/test/process"
)

// TestAnEdgeTakesMailWhileTheDatabaseIsAway runs an ingest --publish with the rights of deploy/nats. It accepts mails
// of every size while no other process runs, survives a SIGKILL of itself and of the broker, and every mail it
// accepted becomes one event when an ingest with a database starts.
func TestAnEdgeTakesMailWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("the test of an edge took too long"))
	t.Cleanup(cancel)
	dir := openDir(t)
	g := &guarded{bin: built(t), logs: filepath.Join(dir, "logs"), broker: freeAddr(t)}
	require.NoError(t, os.Mkdir(g.logs, 0o700))
	g.rig = &rig{t: t, natsDir: filepath.Join(dir, "nats"), smtp: freeAddr(t), api: freeAddr(t), running: map[string]*process.Process{}}
	t.Cleanup(g.end)
	var err error
	g.pg, err = devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(g.pg.Stop)
	admin, err := pgx.Connect(ctx, g.pg.URL("postgres"))
	require.NoError(t, err)
	for _, sql := range []string{postgres.Roles, "CREATE DATABASE " + guardedDatabase + " OWNER fanmail_owner"} {
		_, err = admin.Exec(ctx, sql)
		require.NoError(t, err)
	}
	require.NoError(t, admin.Close(ctx))
	startBroker(ctx, t, g)
	g.cli(ctx, "migrate", "--grants")
	g.cli(ctx, "streams")
	owner, err := pgx.Connect(ctx, g.url("fanmail_owner"))
	require.NoError(t, err)
	_, err = owner.Exec(ctx, `WITH t AS (INSERT INTO fanmail.tenants (id, name) VALUES (gen_random_uuid(), 'acme') RETURNING id)
		INSERT INTO fanmail.agents (address, tenant_id) SELECT 'robot@example.com', id FROM t`)
	require.NoError(t, err)

	ingest := processSpec(t, g, "ingest", "ingest", "FANMAIL_DATABASE_URL="+g.url("fanmail_ingest"), "FANMAIL_MAIL_AUTH=false", "FANMAIL_SMTP_ADDR="+freeAddr(t))
	g.start(ctx, ingest) // it fills the bucket of recipients
	g.start(ctx, processSpec(t, g, "edge", "ingest", "FANMAIL_PUBLISH=true", "FANMAIL_NODE=edge-1", "FANMAIL_SMTP_ADDR="+g.smtp))
	send := func(n, size int) error {
		body := fmt.Sprintf("Message-ID: <%d@example.org>\r\nSubject: %d\r\n\r\n%s", n, n, strings.Repeat("0123456789abcde\r\n", size/17))
		return sendMail(g.smtp, "robot@example.com", body)
	}
	require.Eventually(t, func() bool { return send(0, 100) == nil }, time.Minute, 50*time.Millisecond, "the bucket has the agent")
	require.ErrorContains(t, sendMail(g.smtp, "nobody@example.com", "x"), "550")

	require.NoError(t, g.running["ingest"].Stop(ctx))
	require.NoError(t, owner.Close(ctx))
	g.pg.Stop()
	sizes := []int{1 << 10, 900 << 10, 3 << 20, 20 << 20}
	for n, size := range sizes {
		require.NoError(t, send(n+1, size))
	}
	g.crash(ctx, "edge", nil)
	g.running["nats"].Kill()
	startBroker(ctx, t, g)

	g.pg, err = devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(g.pg.Stop)
	ingest.Env = append(ingest.Env, "FANMAIL_DATABASE_URL="+g.url("fanmail_ingest")) // Postgres may have another port
	g.start(ctx, ingest)
	owner, err = pgx.Connect(ctx, g.url("fanmail_owner"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = owner.Close(context.Background()) })
	subjects := func() (list []string) {
		rows, err := owner.Query(ctx, `SELECT convert_from(envelope, 'utf8')::jsonb->'data'->>'subject' FROM fanmail.events ORDER BY 1`)
		require.NoError(t, err)
		list, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return list
	}
	require.Eventually(t, func() bool { return len(subjects()) > len(sizes) }, 2*time.Minute, 50*time.Millisecond)
	require.Equal(t, []string{"0", "1", "2", "3", "4"}, subjects())
	require.Empty(t, g.refusals())
}

// openDir is a folder for the test that Postgres's user can enter.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanmail-e2e-") //nolint:usetesting // nobody else can enter those of t.TempDir
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// sendMail sends one mail over a connection of its own.
func sendMail(addr, to, body string) error {
	c, err := smtp.Dial(addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	return c.SendMail("sender@example.net", []string{to}, strings.NewReader(body))
}

// startBroker starts the broker with the users of deploy/nats.
func startBroker(ctx context.Context, t *testing.T, g *guarded) {
	t.Helper()
	_, port, err := net.SplitHostPort(g.broker)
	require.NoError(t, err)
	if g.accounts == "" {
		accounts, err := os.ReadFile("../../deploy/nats/accounts.conf")
		require.NoError(t, err)
		g.accounts = filepath.Join(filepath.Dir(g.natsDir), "accounts.conf")
		require.NoError(t, os.WriteFile(g.accounts, accounts, 0o600))
	}
	g.start(ctx, process.Spec{
		Name: "nats", Bin: filepath.Join(g.bin, "natsd"), Logs: g.logs, Ready: g.broker, Env: passwords(),
		Args: []string{"-dir", g.natsDir, "-port", port, "-config", g.accounts},
	})
}

// processSpec is a process with a health port and the broker's user of its name.
func processSpec(t *testing.T, g *guarded, name, command string, env ...string) process.Spec {
	t.Helper()
	health := freeAddr(t)
	return process.Spec{
		Name: name, Bin: filepath.Join(g.bin, command), Logs: g.logs, Ready: "http://" + health + "/readyz",
		Env: append([]string{"FANMAIL_NATS_URL=" + g.nats(name), "FANMAIL_HTTP_ADDR=" + health, "FANMAIL_STREAMS=external"}, env...),
	}
}
