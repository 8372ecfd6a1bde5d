package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/test/process"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// sealing is a fleet whose secrets are encrypted.
type sealing struct {
	*fleet
	receiver *sink.Sink // verifies
	file     string     // the keyset
	runs     int
}

func newSealing(ctx context.Context, t *testing.T) *sealing {
	t.Helper()
	s := &sealing{fleet: newFleet(ctx, t), receiver: sink.New(t), file: filepath.Join(t.TempDir(), "secrets-key.json")}
	s.env = append(s.env, "FANMAIL_SECRETS_KEY_FILE="+s.file)
	s.ends(ctx, 0, s.fanmail(ctx, "secrets", "new-key", s.file))
	return s
}

// fanmail starts a command.
func (s *sealing) fanmail(ctx context.Context, args ...string) *process.Process {
	s.t.Helper()
	s.runs++
	p, err := process.Start(ctx, process.Spec{
		Name: fmt.Sprintf("fanmail-%d", s.runs), Bin: filepath.Join(s.bin, "fanmail"), Logs: s.logs, Args: append([]string{"--dir", s.logs}, args...), Env: s.env,
	})
	require.NoError(s.t, err)
	s.t.Cleanup(p.Kill)
	return p
}

// ends waits until a command ends with a code, and gives its output.
func (s *sealing) ends(ctx context.Context, code int, p *process.Process) string {
	s.t.Helper()
	select {
	case <-p.Exited():
	case <-ctx.Done():
		require.NoError(s.t, context.Cause(ctx), p.Tail(20))
	}
	require.Equal(s.t, code, p.ExitCode(), p.Tail(20))
	return p.Tail(100)
}

// live creates a webhook that the receiver verifies.
func (s *sealing) live(ctx context.Context, tenant events.TenantID, path string) {
	s.t.Helper()
	id := s.webhook(ctx, tenant, s.receiver.URL(path), "live", 32, false)
	var secret string
	require.NoError(s.t, s.pool.QueryRow(ctx, `SELECT signing_secret FROM fanmail.webhooks WHERE id = $1`, id).Scan(&secret))
	s.receiver.Secret(path, secret)
}

// haltKey is the advisory lock for which a halted statement waits.
const haltKey = 1_767

// killAt starts a rotation, halts it at a statement, and kills it there.
func (s *sealing) killAt(ctx context.Context, statement string) {
	s.t.Helper()
	conn, err := s.pool.Acquire(ctx)
	require.NoError(s.t, err)
	defer conn.Release()
	_, err = conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, haltKey)
	require.NoError(s.t, err)
	s.sql(ctx, `CREATE TRIGGER halt BEFORE `+statement+` EXECUTE FUNCTION halt()`)
	p := s.fanmail(ctx, "secrets", "rotate")
	require.Eventually(s.t, func() bool {
		return s.count(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = $1 AND NOT granted`, haltKey) == 1
	}, 2*time.Minute, 10*time.Millisecond, "%s: %s", statement, p.Tail(20))
	s.verified(ctx, 10)
	p.Kill()
	s.t.Logf("killed at %s; it said: %s", statement, p.Tail(20))
	_, err = conn.Exec(ctx, `SELECT pg_advisory_unlock($1)`, haltKey)
	require.NoError(s.t, err)
	_, table, _ := strings.Cut(statement, "ON ")
	s.sql(ctx, `DROP TRIGGER halt ON `+strings.Fields(table)[0])
	s.verified(ctx, 10)
}

// verified waits for a number of further POSTs, and checks all.
func (s *sealing) verified(ctx context.Context, more int) {
	s.t.Helper()
	want := s.receiver.Count() + more
	require.NoError(s.t, s.receiver.Wait(ctx, func() bool { return s.receiver.Count() >= want }))
	for _, p := range s.receiver.Posts(0) {
		require.NoError(s.t, p.VerifyErr)
		require.Equal(s.t, 1, p.Attempt, "no attempt fails or is repeated")
	}
}

func (s *sealing) sealed(ctx context.Context, key string) int {
	return s.count(ctx, `SELECT count(*) FROM fanmail.webhooks WHERE starts_with(signing_secret, $1)`, "sealed:v1:"+key+":")
}

// newest gives the key that was recorded last.
func (s *sealing) newest(ctx context.Context) (key string) {
	s.t.Helper()
	require.NoError(s.t, s.pool.QueryRow(ctx, `SELECT id FROM fanmail.secret_keys ORDER BY created_at DESC LIMIT 1`).Scan(&key))
	return key
}

// TestKeysRotateUnderLoad encrypts secrets that were in clear, and then changes the key, while events arrive. The command
// is killed in each of its phases, and run again.
func TestKeysRotateUnderLoad(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Minute, errors.New("the rotations took too long"))
	t.Cleanup(cancel)
	s := newSealing(ctx, t)
	tenant := s.tenant(ctx)
	const hooks, others, batch = 3, 440, 200
	for i := range hooks {
		s.live(ctx, tenant, fmt.Sprintf("/live-%d", i))
	}
	s.sql(ctx, `INSERT INTO fanmail.webhooks (id, tenant_id, url, events, filter_labels, signing_secret)
		SELECT gen_random_uuid(), $1, 'https://hooks.example.com/', '{email.received}', '{never}', 'whsec_number' || n FROM generate_series(1, $2) AS n`, tenant, others)
	s.sql(ctx, `CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock_shared(`+fmt.Sprint(haltKey)+`); RETURN coalesce(NEW, OLD); END $$`)
	s.dispatcher(ctx, "dispatcher-1")
	s.dispatcher(ctx, "dispatcher-2")
	load := s.traffic(ctx, tenant, 20*time.Millisecond)
	s.verified(ctx, 50)

	nth := func(n int) string {
		var id string
		require.NoError(t, s.pool.QueryRow(ctx, `SELECT id::text FROM fanmail.webhooks ORDER BY id OFFSET $1 LIMIT 1`, n).Scan(&id))
		return `UPDATE OF signing_secret ON fanmail.webhooks FOR EACH ROW WHEN (NEW.id = '` + id + `')`
	}
	var keys []string
	batches := func() { // in the middle of the first batch, and of the second
		s.killAt(ctx, nth(batch/2))
		keys = append(keys, s.newest(ctx))
		require.Zero(t, s.sealed(ctx, keys[len(keys)-1]), "a batch is whole or not at all")
		s.killAt(ctx, nth(batch+batch/2))
		require.Equal(t, batch, s.sealed(ctx, keys[len(keys)-1]))
	}
	batches()
	require.Contains(t, s.ends(ctx, 0, s.fanmail(ctx, "secrets", "rotate")), fmt.Sprintf("of %d webhooks were encrypted", hooks+others-batch))

	s.ends(ctx, 0, s.fanmail(ctx, "secrets", "add-key"))
	behind := &health.Process{ID: [16]byte{1}, Kind: "api", Name: "elsewhere", SecretKeys: keys, Components: []health.State{{Name: "secrets", Status: health.OK}}}
	require.NoError(t, health.Beat(ctx, s.pool, behind))
	waiting := s.fanmail(ctx, "secrets", "rotate")
	require.Eventually(t, func() bool { return strings.Contains(waiting.Tail(20), "waiting for api elsewhere") }, 2*time.Minute, 10*time.Millisecond)
	waiting.Kill()
	require.Zero(t, s.sealed(ctx, s.newest(ctx)))
	require.NoError(t, health.End(ctx, s.pool, behind.ID))
	batches()
	s.killAt(ctx, `DELETE ON fanmail.secret_keys FOR EACH ROW`)
	require.Contains(t, s.ends(ctx, 0, s.fanmail(ctx, "secrets", "rotate")), "needs key "+keys[0]+" any more")

	s.verified(ctx, 50)
	load.stop()
	require.NoError(t, s.receiver.Wait(ctx, func() bool { return s.receiver.Count() >= hooks*load.count() }))
	s.verified(ctx, 0)
	require.Equal(t, hooks*load.count(), s.receiver.Count(), "each is sent once")
	require.Eventually(t, func() bool {
		return s.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'delivered' AND attempts = 1`) == hooks*load.count()
	}, time.Minute, 50*time.Millisecond)
	require.Equal(t, hooks+others, s.sealed(ctx, keys[1]))
	require.Equal(t, 1, s.count(ctx, `SELECT count(*) FROM fanmail.secret_keys`))
	for _, name := range []string{"dispatcher-1", "dispatcher-2"} {
		log, err := os.ReadFile(filepath.Join(s.logs, name+".log"))
		require.NoError(t, err)
		require.NotContains(t, string(log), "can't be opened", "no delivery waited for a key")
	}
	t.Logf("%d deliveries", s.receiver.Count())
}

// TestDeliveriesWaitForTheKeyOfTheirSecret starts a dispatcher with the keyset from before a rotation. It is not ready,
// and it and the doctor name the remedy. What it can't sign it sends once it has the key.
func TestDeliveriesWaitForTheKeyOfTheirSecret(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Minute, errors.New("the deliveries took too long"))
	t.Cleanup(cancel)
	s := newSealing(ctx, t)
	tenant := s.tenant(ctx)
	s.live(ctx, tenant, "/live")
	old := filepath.Join(t.TempDir(), "old.json")
	keyset, err := os.ReadFile(s.file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(old, keyset, 0o600))
	s.ends(ctx, 0, s.fanmail(ctx, "secrets", "rotate"))
	s.ends(ctx, 0, s.fanmail(ctx, "secrets", "add-key"))
	s.ends(ctx, 0, s.fanmail(ctx, "secrets", "rotate"))

	addr, env := freeAddr(t), s.env
	s.env = slices.Concat(env, []string{"FANMAIL_SECRETS_KEY_FILE=" + old})
	s.run(ctx, process.Spec{
		Name: "dispatcher-1", Bin: filepath.Join(s.bin, "dispatcher"), Logs: s.logs, Env: append([]string{"FANMAIL_HTTP_ADDR=" + addr, "FANMAIL_DISPATCHER_NAME=dispatcher-1"}, s.env...),
	})
	stands := func(status int, says string) bool {
		resp, err := http.Get("http://" + addr + "/readyz")
		if err != nil {
			return false
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == status && strings.Contains(string(body), says)
	}
	const remedy = "set FANMAIL_SECRETS_KEY_FILE, or FANMAIL_SECRETS_KEY, to the keyset that sealed them"
	require.Eventually(t, func() bool { return stands(http.StatusServiceUnavailable, remedy) }, 2*time.Minute, 50*time.Millisecond)
	require.Contains(t, s.ends(ctx, 1, s.fanmail(ctx, "doctor")), remedy)

	load := s.traffic(ctx, tenant, 20*time.Millisecond)
	waiting := `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending' AND attempts = 0`
	require.Eventually(t, func() bool { return s.count(ctx, waiting) >= 50 }, 2*time.Minute, 50*time.Millisecond)
	s.env = env
	rotation := s.fanmail(ctx, "secrets", "rotate")
	require.Eventually(t, func() bool { return strings.Contains(rotation.Tail(20), "waiting for dispatcher ") }, 2*time.Minute, 50*time.Millisecond)
	require.Zero(t, s.receiver.Count())
	require.Zero(t, s.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE attempts > 0 OR status <> 'pending'`))

	keyset, err = os.ReadFile(s.file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(old, keyset, 0o600))
	s.ends(ctx, 0, rotation)
	s.verified(ctx, 50)
	load.stop()
	require.NoError(t, s.receiver.Wait(ctx, func() bool { return s.receiver.Count() >= load.count() }))
	s.verified(ctx, 0)
	require.Equal(t, load.count(), s.receiver.Count())
	require.Eventually(t, func() bool { return stands(http.StatusOK, "") }, time.Minute, 50*time.Millisecond)
}
