package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/e2atest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestAnImportIsReportedDoneAndCompared(t *testing.T) {
	t.Parallel()
	there := e2atest.New(t, "https://hooks.example.com")
	there.Fill(t, 20)
	here := pgtest.URL(t)
	args := func(more ...string) []string {
		return append([]string{"import", "e2a", "--from", there.URL, "--database-url", here}, more...)
	}
	out := must(t, t.TempDir(), "", args("--dry-run")...)
	require.Regexp(t, `webhooks +5 +0 +0 +0 +0 +5\n`, out)
	require.Contains(t, out, "nothing was changed")
	_, code := fanmail(t, t.TempDir(), "", args("--check")...)
	require.Equal(t, 1, code, "nothing is here yet")

	out = must(t, t.TempDir(), "", args()...)
	require.Regexp(t, `webhooks +5 +5 +5 +0 +0 +0\n`, out)
	require.Contains(t, out, "deliveries: 321 of 321")
	require.Contains(t, must(t, t.TempDir(), "", args("--check")...), "everything that e2a has is here")
	report := object(t, must(t, t.TempDir(), "", args("--check", "--json")...))
	require.Equal(t, "v0.4", report["release"])

	// Receivers of e2a v0.4 get its envelope, until a date.
	var form string
	var days float64
	require.NoError(t, pgtest.Open(t, here).QueryRow(t.Context(), `SELECT envelope, extract(epoch FROM envelope_until - now())::float8 / 86400 FROM fanmail.webhooks LIMIT 1`).Scan(&form, &days))
	require.Equal(t, "v0.4", form)
	require.InDelta(t, 90, days, 1)

	there.Exec(t, `INSERT INTO webhooks (id, user_id, url, events, signing_secret) VALUES ('wh_9', $1, 'ftp://x/', '{email.received}', 'whsec_x')`, e2atest.Ben)
	out, code = fanmail(t, t.TempDir(), "", args()...)
	require.Equal(t, 1, code)
	require.Contains(t, out, "problem: webhook wh_9: url")
	require.Contains(t, out, "nothing was imported: the report has problems")
	require.Contains(t, must(t, t.TempDir(), "", args("--accept")...), "the import is complete")

	for _, wrong := range [][]string{
		{"--dry-run", "--check"}, {"--follow", "--check"}, {"--envelope-until", "tomorrow"}, {"--envelope-until", "2001-01-01"}, {"--every", "0s"},
	} {
		_, code := fanmail(t, t.TempDir(), "", args(wrong...)...)
		require.Equal(t, 1, code, wrong)
	}
}
