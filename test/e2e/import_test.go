package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/deploy/postgres"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/test/e2atest"
	"github.com/fanmail-dev/fanmail/test/process"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// guideSQL returns the first SQL of a page's list item.
func guideSQL(t *testing.T, page, item string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/how-to/" + page)
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(text), item)
	require.True(t, found, item)
	_, rest, found = strings.Cut(rest, "```sql\n")
	require.True(t, found)
	sql, _, found := strings.Cut(rest, "```")
	require.True(t, found)
	return sql
}

// TestE2AsOwnDatabaseIsMovedByTheRolesOfTheGuide imports within e2a's own database, which belongs to another role: as
// fanmail_owner, from what fanmail_import may read. The processes run by their own roles. The webhooks get the envelope
// of e2a until the date that the import was given.
func TestE2AsOwnDatabaseIsMovedByTheRolesOfTheGuide(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("the test of the guide's roles took too long"))
	t.Cleanup(cancel)
	dir := openDir(t)
	pg, err := devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir})
	require.NoError(t, err)
	t.Cleanup(pg.Stop)
	admin, err := pgxpool.New(ctx, pg.URL("postgres"))
	require.NoError(t, err)
	t.Cleanup(admin.Close)
	for _, sql := range []string{postgres.Roles, "CREATE ROLE e2a LOGIN", "CREATE DATABASE e2a OWNER e2a"} {
		_, err = admin.Exec(ctx, sql)
		require.NoError(t, err)
	}
	url := func(role string) string { return strings.Replace(pg.URL("e2a"), "fanmail@", role+"@", 1) }
	receiver, err := sink.Start(sink.Options{})
	require.NoError(t, err)
	t.Cleanup(receiver.Close)
	there := e2atest.In(t, url("e2a"), strings.TrimSuffix(receiver.URL("/"), "/"))
	there.Fill(t, 20)
	super, err := pgxpool.New(ctx, pg.URL("e2a"))
	require.NoError(t, err)
	t.Cleanup(super.Close)
	for _, item := range []string{"may read e2a's tables:", "may make its schema there:"} {
		_, err = super.Exec(ctx, guideSQL(t, "move-from-e2a.md", item))
		require.NoError(t, err)
	}

	r := &rig{t: t, pool: super, bin: built(t), api: freeAddr(t), running: map[string]*process.Process{}}
	t.Cleanup(r.end)
	broker := freeAddr(t)
	_, port, _ := strings.Cut(broker, ":")
	r.start(ctx, process.Spec{Name: "nats", Bin: filepath.Join(r.bin, "natsd"), Logs: dir, Ready: broker, Args: []string{"-dir", filepath.Join(dir, "nats"), "-port", port}})
	env := []string{"FANMAIL_NATS_URL=nats://" + broker, "FANMAIL_ALLOW_HTTP=true", "FANMAIL_ALLOW_NETWORKS=127.0.0.0/8"}
	runs := 0
	run := func(args ...string) string {
		t.Helper()
		runs++
		p, err := process.Start(ctx, process.Spec{
			Name: fmt.Sprintf("fanmail-%d", runs), Bin: filepath.Join(r.bin, "fanmail"), Logs: dir, Args: args,
			Env: append([]string{"FANMAIL_DATABASE_URL=" + url("fanmail_owner"), "FANMAIL_IMPORT_FROM=" + url("fanmail_import")}, env...),
		})
		require.NoError(t, err)
		<-p.Exited()
		require.Zero(t, p.ExitCode(), "fanmail %v:\n%s", args, p.Tail(20))
		return p.Tail(1000)
	}
	env = append(env, "FANMAIL_SECRETS_KEY="+strings.TrimSpace(run("secrets", "new-key")))
	run("migrate", "--grants")
	run("import", "e2a", "--dry-run")
	until := time.Now().Add(time.Minute).UTC().Truncate(time.Second)
	run("import", "e2a", "--follow", "--once", "--envelope-until", until.Format(time.RFC3339))
	require.Contains(t, run("import", "e2a"), "the import is complete")
	require.Contains(t, run("import", "e2a", "--check"), "everything that e2a has is here")
	require.Zero(t, r.count(ctx, `SELECT count(*) FROM fanmail.webhooks WHERE envelope_until IS DISTINCT FROM '`+until.Format(time.RFC3339)+`'`),
		"a later import without the date keeps it")

	for _, c := range []string{"api", "publisher", "dispatcher"} {
		health := freeAddr(t)
		r.start(ctx, process.Spec{
			Name: c, Bin: filepath.Join(r.bin, c), Logs: dir, Ready: "http://" + health + "/readyz",
			Env: append([]string{"FANMAIL_DATABASE_URL=" + url("fanmail_"+c), "FANMAIL_API_ADDR=" + r.api, "FANMAIL_HTTP_ADDR=" + health, "FANMAIL_MAINTENANCE=off"}, env...),
		})
	}
	// An imported key makes events; each POST of them has the form of its time.
	forms := map[bool]int{} // by whether it is e2a's
	require.Eventually(t, func() bool {
		var made struct{ ID string }
		r.call(ctx, e2atest.KeyValid, "POST", "/v1/events", map[string]any{"type": "email.sent", "data": map[string]any{"n": 1}}, &made)
		require.NoError(t, receiver.Wait(ctx, func() bool { return postOf(receiver, "/A", made.ID) != nil }))
		p := postOf(receiver, "/A", made.ID)
		var body struct{ Type, Event string }
		require.NoError(t, json.Unmarshal(p.Body, &body))
		require.Equal(t, "email.sent", body.Type+body.Event, "one of both")
		forms[body.Event != ""]++
		if p.At.Before(until) {
			require.NotEmpty(t, body.Event, "the envelope of e2a until the date")
		}
		return body.Type != ""
	}, 8*time.Minute, time.Second)
	require.True(t, time.Now().After(until))
	t.Logf("POSTs in e2a's form: %d, in Fanmail's: %d", forms[true], forms[false])
}

// postOf returns the POST of an event to a path; nil: none has come.
func postOf(s *sink.Sink, path, event string) *sink.Post {
	for _, p := range s.PostsTo(path) {
		if p.EventID == event {
			return &p
		}
	}
	return nil
}
