package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestARotationOfKeysPrintsItsProgress(t *testing.T) {
	t.Parallel()
	dir, url := t.TempDir(), pgtest.URL(t)
	pool := pgtest.Open(t, url)
	_, err := pool.Exec(t.Context(), `WITH t AS (INSERT INTO fanmail.tenants (id, name) VALUES (gen_random_uuid(), 'x') RETURNING id)
		INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret)
		SELECT gen_random_uuid(), t.id, 'https://hooks.example.com/', '{email.received}', 'whsec_hunter2' || n FROM t, generate_series(1, 440) AS n`)
	require.NoError(t, err)
	file := filepath.Join(dir, "keyset.json")
	args := []string{"secrets", "rotate", "--database-url", url, "--secrets-key-file", file}
	must(t, dir, "", "secrets", "new-key", file)

	lines := func(out string) (told []string) {
		require.NotContains(t, out, "hunter2")
		for _, line := range strings.Split(out, "\n") {
			if strings.Contains(line, "encrypted") {
				told = append(told, strings.TrimSpace(line))
			}
		}
		return told
	}
	key := func() (id string) {
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT id FROM fanmail.secret_keys`).Scan(&id))
		return id
	}
	told := lines(must(t, dir, "", args...))
	first := key()
	require.Equal(t, []string{
		"encrypted the secrets of 200 of 440 webhooks", "encrypted the secrets of 400 of 440 webhooks", "encrypted the secrets of 440 of 440 webhooks",
		"the secrets of 440 webhooks were encrypted; all are encrypted with key " + first,
	}, told)
	require.Equal(t, []string{
		"encrypted the secrets of 0 of 0 webhooks", "the secrets of 0 webhooks were encrypted; all are encrypted with key " + first,
	}, lines(must(t, dir, "", args...)), "what is done stays done")

	added := must(t, dir, "", "secrets", "add-key", "--secrets-key-file", file)
	out := must(t, dir, "", args...)
	require.Contains(t, added, key())
	require.Contains(t, out, "no secret in the database needs key "+first+" any more")
	require.Len(t, lines(out), 4)

	// What can't be opened is named, and the others are done.
	_, err = pool.Exec(t.Context(), `UPDATE fanmail.webhooks SET signing_secret = (SELECT min(signing_secret) FROM fanmail.webhooks WHERE id <> w.id)
		FROM (SELECT min(id::text)::uuid AS id FROM fanmail.webhooks) AS w WHERE webhooks.id = w.id`)
	require.NoError(t, err)
	must(t, dir, "", "secrets", "add-key", "--secrets-key-file", file)
	out, code := fanmail(t, dir, "", args...)
	require.Equal(t, 1, code)
	require.Contains(t, out, "encrypted the secrets of 439 of 440 webhooks")
	require.Contains(t, out, "the secrets of 1 webhooks stay as they are")
}
