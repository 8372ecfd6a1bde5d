package e2e_test

import (
	"context"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/testdb"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// system is all of Fanmail in one process, on the test's servers.
func system(t *testing.T, dir, database, broker string) (app.Credentials, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready := make(chan app.Credentials, 1)
	done := make(chan error, 1)
	go func() {
		done <- app.RunUp(ctx, app.UpConfig{
			Dir: dir, APIAddr: "127.0.0.1:0", SMTPAddr: "127.0.0.1:0", DatabaseURL: secret.Text(database), NATSURL: secret.Text(broker),
			Ready: func(c app.Credentials) { ready <- c },
		}, zap.NewNop())
	}()
	stop := func() {
		cancel()
		require.NoError(t, <-done)
	}
	select {
	case creds := <-ready:
		return creds, stop
	case err := <-done:
		require.NoError(t, err, "start")
		return app.Credentials{}, nil
	}
}

// emptyDatabase is on a server of this machine, even if another is given: pg_dump refuses a server newer than itself.
func emptyDatabase(t *testing.T) string {
	t.Helper()
	s, err := testdb.Private()
	require.NoError(t, err)
	url, drop, err := s.Empty(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, drop()) })
	return url
}

// tool runs one of Postgres's own tools.
func tool(ctx context.Context, t *testing.T, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
		require.NotEmpty(t, found, "%s is part of Postgres", name)
		path = found[len(found)-1]
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	require.NoError(t, err, "%s: %s", name, out)
}

func TestABackupIsRestoredBesideAnEmptyBroker(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Minute, errors.New("the backup test took too long"))
	defer cancel()
	receiver := sink.New(t)
	dir, database := t.TempDir(), emptyDatabase(t)
	creds, stop := system(t, dir, database, natstest.URL(t))
	api := &apiclient.Client{Base: creds.API, Key: creds.TenantKey}
	var hook struct {
		ID            string
		SigningSecret string `json:"signing_secret"`
	}
	require.NoError(t, api.Do(ctx, http.MethodPost, "/v1/webhooks", nil, map[string]any{"url": receiver.URL("/a"), "events": []string{"email.sent"}}, &hook))
	receiver.Secret("/a", hook.SigningSecret)
	event := map[string]any{"type": "email.sent", "data": map[string]any{"n": 1}}
	require.NoError(t, api.Do(ctx, http.MethodPost, "/v1/events", nil, event, nil))
	require.NoError(t, receiver.WaitForPath(ctx, "/a", 1))
	// What is pending at the time of the backup: deliveries of a disabled webhook, and an event that
	// no publisher has seen.
	require.NoError(t, api.Do(ctx, http.MethodPatch, "/v1/webhooks/"+hook.ID, nil, map[string]any{"enabled": false}, nil))
	require.NoError(t, api.Do(ctx, http.MethodPost, "/v1/webhooks", nil, map[string]any{"url": receiver.URL("/b"), "events": []string{"email.received"}}, nil))
	stop()
	conn, err := pgx.Connect(ctx, database)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, `WITH e AS (INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, envelope)
			SELECT gen_random_uuid(), now(), tenant_id, 'email.received', nextval('fanmail.outbox_seq'), '{}' FROM fanmail.webhooks LIMIT 1 RETURNING *)
		INSERT INTO fanmail.outbox (tenant_id, seq, event_id, created_at) SELECT tenant_id, seq, id, created_at FROM e`)
	require.NoError(t, err)
	require.NoError(t, conn.Close(ctx))

	dump := filepath.Join(t.TempDir(), "fanmail.dump")
	tool(ctx, t, "pg_dump", "--format=custom", "--file="+dump, database)
	restored := emptyDatabase(t)
	tool(ctx, t, "pg_restore", "--no-owner", "--exit-on-error", "--dbname="+restored, dump)
	creds, stop = system(t, dir, restored, natstest.URL(t))
	defer stop()
	require.NoError(t, receiver.WaitForPath(ctx, "/b", 1), "what was in the outbox")
	api = &apiclient.Client{Base: creds.API, Key: creds.TenantKey} // the same key: it is in the backup
	require.NoError(t, api.Do(ctx, http.MethodPatch, "/v1/webhooks/"+hook.ID, nil, map[string]any{"enabled": true}, nil))
	require.NoError(t, api.Do(ctx, http.MethodPost, "/v1/events", nil, event, nil))
	require.NoError(t, receiver.WaitForPath(ctx, "/a", 2))
	for _, p := range receiver.PostsTo("/a") {
		require.NoError(t, p.VerifyErr, "the secret is in the backup too")
	}
	require.Equal(t, 2, receiver.CountTo("/a"), "what was delivered before is not sent again")
}
