package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/postgres"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/test/process"
)

// guarded is a rig in which every process has its own role in Postgres and its own user in NATS, as in
// deploy/postgres and deploy/nats.
type guarded struct {
	*rig
	pg       *devserver.Postgres
	broker   string
	accounts string // the file with the broker's users
	bin      string
	logs     string
}

// guardedDatabase is the name that operators are told to use.
const guardedDatabase = "fanmail"

func newGuarded(ctx context.Context, t *testing.T) *guarded {
	t.Helper()
	dir := openDir(t)
	var err error
	g := &guarded{bin: built(t), logs: filepath.Join(dir, "logs"), broker: freeAddr(t)}
	require.NoError(t, os.Mkdir(g.logs, 0o700))

	g.pg, err = devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(g.pg.Stop)
	admin, err := pgx.Connect(ctx, g.pg.URL("postgres"))
	require.NoError(t, err)
	for _, sql := range []string{postgres.Roles, postgres.Roles, "CREATE DATABASE " + guardedDatabase + " OWNER fanmail_owner"} {
		_, err = admin.Exec(ctx, sql)
		require.NoError(t, err)
	}
	require.NoError(t, admin.Close(ctx))
	pool, err := pgxpool.New(ctx, g.url("fanmail_owner"))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	g.rig = &rig{
		t: t, pool: pool, natsDir: filepath.Join(dir, "nats"), smtp: freeAddr(t), api: freeAddr(t),
		running: map[string]*process.Process{},
	}
	t.Cleanup(g.end)

	startBroker(ctx, t, g)
	g.cli(ctx, "migrate", "--grants")
	g.cli(ctx, "streams")
	g.start(ctx, process.Spec{
		Name: "streams", Bin: filepath.Join(g.bin, "fanmail"), Logs: g.logs, Args: []string{"streams", "--every", "500ms"},
		Env: []string{"FANMAIL_NATS_URL=" + g.nats("operator")},
	})
	blobs := filepath.Join(dir, "blobs")
	require.NoError(t, os.Mkdir(blobs, 0o700))
	for _, c := range commands {
		health := freeAddr(t)
		g.start(ctx, process.Spec{
			Name: c, Bin: filepath.Join(g.bin, c), Logs: g.logs, Ready: "http://" + health + "/readyz",
			Env: []string{
				"FANMAIL_DATABASE_URL=" + g.url("fanmail_"+c), "FANMAIL_NATS_URL=" + g.nats(c),
				"FANMAIL_STREAMS=external", "FANMAIL_MAINTENANCE=off", "FANMAIL_ALLOW_HTTP=true", "FANMAIL_ALLOW_NETWORKS=127.0.0.0/8",
				"FANMAIL_SMTP_ADDR=" + g.smtp, "FANMAIL_API_ADDR=" + g.api, "FANMAIL_HTTP_ADDR=" + health,
				"FANMAIL_POSTMASTER=robot@example.com", "FANMAIL_BLOBS=file://" + blobs,
			},
		})
	}
	return g
}

func password(user string) string { return "not-a-secret-" + user }

// passwords are those of all users of deploy/nats, as the broker's environment.
func passwords() (env []string) {
	for _, user := range []string{"publisher", "dispatcher", "ingest", "edge", "api", "operator"} {
		env = append(env, "FANMAIL_NATS_"+strings.ToUpper(user)+"_PASSWORD="+password(user))
	}
	return env
}

// url is the connection string of a role.
func (g *guarded) url(role string) string {
	return strings.Replace(g.pg.URL(guardedDatabase), "fanmail@", role+"@", 1)
}

// nats is the broker's URL for a user.
func (g *guarded) nats(user string) string {
	return fmt.Sprintf("nats://%s:%s@%s", user, password(user), g.broker)
}

// tenantUser adds the account that 'fanmail nats-user' prints to the broker's accounts, and returns its user's URL.
func (g *guarded) tenantUser(ctx context.Context, tenant string) string {
	g.t.Helper()
	_, account, found := strings.Cut(g.cli(ctx, "nats-user", tenant), `"intake-`)
	require.True(g.t, found)
	accounts, err := os.ReadFile(g.accounts)
	require.NoError(g.t, err)
	changed := strings.Replace(string(accounts), "accounts {", "accounts {\n\"intake-"+account, 1)
	require.NotEqual(g.t, string(accounts), changed)
	g.crash(ctx, "nats", func() { require.NoError(g.t, os.WriteFile(g.accounts, []byte(changed), 0o600)) })
	secret := regexp.MustCompile(`password: "([^"]*)"`).FindStringSubmatch(account)
	require.NotNil(g.t, secret)
	return fmt.Sprintf("nats://intake-%s:%s@%s", tenant, secret[1], g.broker)
}

// cli runs fanmail as the tables' owner and the broker's operator, and returns its output.
func (g *guarded) cli(ctx context.Context, args ...string) string {
	g.t.Helper()
	p, err := process.Start(ctx, process.Spec{
		Name: "fanmail-" + args[0], Bin: filepath.Join(g.bin, "fanmail"), Logs: g.logs, Args: args,
		Env: []string{"FANMAIL_DATABASE_URL=" + g.url("fanmail_owner"), "FANMAIL_NATS_URL=" + g.nats("operator")},
	})
	require.NoError(g.t, err)
	select {
	case <-p.Exited():
	case <-ctx.Done():
		p.Kill()
	}
	require.Zero(g.t, p.ExitCode(), "fanmail %v:\n%s", args, p.Tail(5))
	return p.Tail(1000)
}

// refusals are the lines of all processes' output that report a missing right.
func (g *guarded) refusals() []string {
	var lines []string
	for name, p := range g.running {
		if name == "nats" || name == "streams" {
			continue
		}
		for line := range strings.SplitSeq(p.Tail(1_000_000), "\n") {
			low := strings.ToLower(line)
			if strings.Contains(low, "permission") || strings.Contains(low, "42501") || strings.Contains(low, "must be owner") {
				lines = append(lines, name+": "+line)
			}
		}
	}
	return lines
}

// status makes a request with an idempotency key and returns the status of the answer.
func (g *guarded) status(ctx context.Context, key, method, path, body string) int {
	g.t.Helper()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+g.api+path, strings.NewReader(body))
	require.NoError(g.t, err)
	req.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", "once")
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(g.t, err)
	require.NoError(g.t, resp.Body.Close())
	return resp.StatusCode
}
