package app

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// dump returns what a backup holds of the webhooks.
func dump(t *testing.T, pool *pgxpool.Pool) (text string) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), `SELECT string_agg(w::text, E'\n') FROM fanmail.webhooks AS w`).Scan(&text))
	return text
}

// Secrets that were stored in clear are encrypted by a rotation, and then with a new
// key. Each rotated secret keeps signing, and no other key and no other row opens them.
func TestARotationEncryptsAllSecrets(t *testing.T) {
	t.Parallel()
	ctx, log, url := t.Context(), zaptest.NewLogger(t), pgtest.URL(t)
	pool := pgtest.Open(t, url)
	tenant, err := tenancy.Create(ctx, pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	clear := subscribers.NewStore(pool, subscribers.Limits{})
	var planted []string
	var hooks []events.WebhookID
	for range 3 {
		w, first, err := clear.Create(ctx, tenant.ID, subscribers.Webhook{
			URL: "https://hooks.example.com/", Events: []events.Type{"email.received"}, Enabled: true, Headers: map[string]string{"X-Api-Key": "marker-hunter2"},
		})
		require.NoError(t, err)
		second, _, err := clear.Rotate(ctx, tenant.ID, w.ID, "")
		require.NoError(t, err)
		third, _, err := clear.Rotate(ctx, tenant.ID, w.ID, "")
		require.NoError(t, err)
		planted, hooks = append(planted, first, second, third), append(hooks, w.ID)
	}
	require.Contains(t, dump(t, pool), planted[0])
	require.Contains(t, dump(t, pool), "marker-hunter2")

	file := filepath.Join(t.TempDir(), UpKeyFile)
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	require.NoError(t, keyring.CreateFile(file, text))
	rotate := func() (Rotation, error) {
		return RotateSecrets(ctx, Database{URL: secret.Text(url)}, Secrets{File: file}, log, func(Rotation, string) {})
	}
	r, err := rotate()
	require.NoError(t, err)
	require.Equal(t, int64(3), r.Done)
	require.Empty(t, r.Retired)
	for _, marker := range append(planted, "marker-hunter2") {
		bare := strings.TrimPrefix(marker, "whsec_")
		for _, form := range []string{marker, bare, base64.StdEncoding.EncodeToString([]byte(marker)), hex.EncodeToString([]byte(marker))} {
			require.NotContains(t, dump(t, pool), form)
		}
	}
	r, err = rotate()
	require.NoError(t, err)
	require.Zero(t, r.Done, "what is done stays done")

	opens := func(text []byte) (locked int) {
		keys, err := keyring.Parse(secret.Text(text))
		require.NoError(t, err)
		registry := subscribers.NewRegistry(pool, nil, log).WithKeyring(keys)
		require.NoError(t, registry.Load(ctx))
		for _, id := range hooks {
			if registry.Get(id).Locked() {
				locked++
				continue
			}
			_, err := registry.Get(id).Signer(time.Now())
			require.NoError(t, err)
		}
		return locked
	}
	require.Zero(t, opens(text))
	more, id, err := keyring.AddKey(text)
	require.NoError(t, err)
	require.NoError(t, keyring.ReplaceFile(file, more))
	r, err = rotate()
	require.NoError(t, err)
	require.Equal(t, id, r.Key)
	require.Equal(t, int64(3), r.Done)
	require.Len(t, r.Retired, 1)
	require.Zero(t, opens(more))
	require.Equal(t, 3, opens(text), "the first key opens nothing any more")

	// Without the key, or with another, nothing is written and the check says why.
	var missing *keyring.MissingKeyError
	_, _, err = clear.Create(ctx, tenant.ID, subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{"email.received"}})
	require.ErrorAs(t, err, &missing)
	old, err := keyring.Parse(secret.Text(text))
	require.NoError(t, err)
	require.ErrorAs(t, old.Check(ctx, pool), &missing)
	require.Equal(t, id, missing.ID)

	// A ciphertext in another row does not open, and the rotation names that row.
	_, err = pool.Exec(ctx, `UPDATE fanmail.webhooks SET signing_secret = (SELECT signing_secret FROM fanmail.webhooks WHERE id = $1) WHERE id = $2`, hooks[0], hooks[1])
	require.NoError(t, err)
	require.Equal(t, 1, opens(more))
	third, _, err := keyring.AddKey(more)
	require.NoError(t, err)
	require.NoError(t, keyring.ReplaceFile(file, third))
	r, err = rotate()
	require.ErrorIs(t, err, keyring.ErrDamaged)
	require.Equal(t, []string{hooks[1].String()}, r.Failed)
	require.Equal(t, int64(2), r.Done)
}

func TestUpMakesItsKeyOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var c, again Secrets
	require.NoError(t, c.orMake(dir))
	info, err := os.Stat(c.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	before, err := os.ReadFile(c.File)
	require.NoError(t, err)
	require.NoError(t, again.orMake(dir))
	after, err := os.ReadFile(again.File)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.NoError(t, c.validate())
}

// TestARotationThatIsCutOffGoesOnAndEveryWebhookSigns ends rotations after their first batch. A process signs for all
// webhooks meanwhile.
func TestARotationThatIsCutOffGoesOnAndEveryWebhookSigns(t *testing.T) {
	t.Parallel()
	ctx, log, url := t.Context(), zaptest.NewLogger(t), pgtest.URL(t)
	pool := pgtest.Open(t, url)
	var tenant tenancy.Tenant
	var err error
	store := subscribers.NewStore(pool, subscribers.Limits{})
	valid := map[events.WebhookID][]string{} // the secrets that sign
	for i := range 2*resealBatch + 40 {
		if i%40 == 0 { // a tenant may have 50
			tenant, err = tenancy.Create(ctx, pool, tenancy.NewTenant{Name: "acme" + strconv.Itoa(i)})
			require.NoError(t, err)
		}
		w, first, err := store.Create(ctx, tenant.ID, subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{"email.received"}, Enabled: true})
		require.NoError(t, err)
		valid[w.ID] = []string{first}
		for i < 3 && len(valid[w.ID]) <= subscribers.MaxPreviousSecrets {
			next, _, err := store.Rotate(ctx, tenant.ID, w.ID, "")
			require.NoError(t, err)
			valid[w.ID] = append(valid[w.ID], next)
		}
	}
	file := filepath.Join(t.TempDir(), UpKeyFile)
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	require.NoError(t, keyring.CreateFile(file, text))
	keys, err := keyring.Load(keyring.Source{File: file})
	require.NoError(t, err)
	registry := subscribers.NewRegistry(pool, nil, log).WithKeyring(keys)
	signAll := func() {
		assert.NoError(t, registry.Load(ctx))
		body := []byte(`{}`)
		for id, secrets := range valid {
			signer, err := registry.Get(id).Signer(time.Now())
			if !assert.NoError(t, err) {
				return
			}
			h := http.Header{}
			signer.Sign(h, "msg_1", time.Now(), body)
			for _, s := range secrets {
				if !assert.NoError(t, signature.Verify(s, h, body, time.Now(), 0)) {
					return
				}
			}
		}
	}
	rotate := func(stops bool) (Rotation, error) {
		cut, cancel := context.WithCancel(ctx)
		defer cancel()
		return RotateSecrets(cut, Database{URL: secret.Text(url)}, Secrets{File: file}, log, func(Rotation, string) {
			if signAll(); stops {
				cancel()
			}
		})
	}
	for range 2 {
		for range 2 {
			r, err := rotate(true)
			require.ErrorIs(t, err, context.Canceled)
			require.Less(t, r.Done, r.Total)
			require.Positive(t, r.Done)
			signAll()
		}
		r, err := rotate(false)
		require.NoError(t, err)
		require.Less(t, r.Total, int64(len(valid)), "what is done stays done")
		left, err := subscribers.CountStale(ctx, pool, keys)
		require.NoError(t, err)
		require.Zero(t, left)
		signAll()
		more, id, err := keyring.AddKey(text)
		require.NoError(t, err)
		require.NoError(t, keyring.ReplaceFile(file, more))
		require.NoError(t, os.Chtimes(file, time.Time{}, time.Now().Add(time.Hour)))
		text = more
		require.Eventually(t, func() bool { // a rotation waits for it where processes run
			keys.Refresh()
			return keys.Primary() == id
		}, time.Minute, 50*time.Millisecond)
	}
}

// starting is a dispatcher that has loaded its keys and has not begun to work.
func starting(t *testing.T, pool *pgxpool.Pool, c Secrets) *process {
	t.Helper()
	p := newProcess("dispatcher", Lifecycle{}, zaptest.NewLogger(t))
	p.pool = pool
	assert.NoError(t, p.useSecrets(t.Context(), c))
	return p
}

// TestARotationWaitsForProcessesThatAreStarting rotates while a process has not told that it works: one that started
// before the rotation, and one that starts between its batches. Nothing is encrypted until they have the key, or end.
func TestARotationWaitsForProcessesThatAreStarting(t *testing.T) {
	t.Parallel()
	ctx, log, url := t.Context(), zaptest.NewLogger(t), pgtest.URL(t)
	pool := pgtest.Open(t, url)
	tenant, err := tenancy.Create(ctx, pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	manyWebhooks(t, pool, tenant.ID, resealBatch+40)
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	before := Secrets{Key: secret.Text(text)}
	more, id, err := keyring.AddKey(text)
	require.NoError(t, err)
	dir := t.TempDir()
	following := Secrets{File: filepath.Join(dir, "following.json")}
	require.NoError(t, keyring.CreateFile(following.File, text))

	early := map[string]*process{"file": starting(t, pool, following), "text": starting(t, pool, before)}
	var late *process
	sealed := func() (n int64) {
		assert.NoError(t, pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.webhooks WHERE starts_with(signing_secret, $1)`, keyring.PrefixOf(id)).Scan(&n))
		return n
	}
	waits := 0
	r, err := RotateSecrets(ctx, Database{URL: secret.Text(url)}, Secrets{Key: secret.Text(more)}, log, func(r Rotation, step string) {
		switch {
		case step == "" && late == nil:
			late = starting(t, pool, before)
			return
		case step == "":
			return
		case waits == 0:
			assert.Zero(t, sealed())
			assert.NoError(t, keyring.ReplaceFile(following.File, more))
			assert.NoError(t, os.Chtimes(following.File, time.Time{}, time.Now().Add(time.Hour)))
			assert.Eventually(t, func() bool { // as its component does
				return early["file"].state.beat(ctx, pool) && early["file"].keys.Primary() == id
			}, time.Minute, 50*time.Millisecond)
			early["text"].state.end(ctx, pool)
		case waits == 1:
			assert.Equal(t, int64(resealBatch), sealed(), "the next batch waits")
			late.state.end(ctx, pool)
		}
		assert.Contains(t, step, "waiting for dispatcher "+replica()+" to have key "+id)
		waits++
	})
	require.NoError(t, err)
	require.Equal(t, 2, waits)
	require.Equal(t, int64(resealBatch+40), r.Done)
	require.Equal(t, r.Done, sealed())
}

// manyWebhooks creates webhooks without events, with their secrets in clear.
func manyWebhooks(t *testing.T, pool *pgxpool.Pool, tenant events.TenantID, n int) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret)
		SELECT gen_random_uuid(), $1, 'https://hooks.example.com/', '{email.received}', 'whsec_number' || n FROM generate_series(1, $2) AS n`, tenant, n)
	require.NoError(t, err)
}
