package main

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/e2atest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
	"github.com/fanmail-dev/fanmail/test/sink"
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
	out = must(t, t.TempDir(), "", args("--check", "--json")...)
	_, text, _ := strings.Cut(out, "{") // behind the progress
	report := object(t, "{"+text)
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

func TestAWebhookKeepsTheEnvelopeOfE2AUntilADate(t *testing.T) {
	t.Parallel()
	dir := up(t)
	receiver := sink.New(t)
	must(t, dir, "", "agents", "create", "agent@fanmail.example")
	const key = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	receiver.Secret("/old", key)
	made := object(t, must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/old"), "--events", "email.received,email.sent", "--signing-secret", key,
		"--envelope", "v0.4", "--envelope-until", time.Now().AddDate(0, 2, 0).Format(time.DateOnly), "--json"))
	require.Equal(t, "v0.4", made["envelope"])
	id := made["id"].(string)
	mail := func(n int) map[string]any {
		t.Helper()
		must(t, dir, strings.Replace(mailText, "<one@", fmt.Sprintf("<n%d@", n), 1), "send", "-", "--to", "agent@fanmail.example")
		require.NoError(t, receiver.WaitForPath(t.Context(), "/old", n))
		post := receiver.PostsTo("/old")[n-1]
		require.NoError(t, post.VerifyErr, "what is sent is signed")
		return object(t, string(post.Body))
	}
	old := mail(1)
	require.Equal(t, "email.received", old["event"])
	require.NotContains(t, old, "type")
	data := old["data"].(map[string]any)
	require.Equal(t, "someone@example.com", data["from"])
	require.Equal(t, []any{"agent@fanmail.example"}, data["to"])
	require.Equal(t, "Tea at four", data["subject"])
	require.Equal(t, "false", data["auth_headers"].(map[string]any)["X-E2A-Auth-Verified"])
	raw, err := base64.StdEncoding.DecodeString(data["raw_message"].(string))
	require.NoError(t, err)
	require.Contains(t, string(raw), "Come by.")
	must(t, dir, `{"n":1}`, "events", "create", "email.sent")
	require.NoError(t, receiver.WaitForPath(t.Context(), "/old", 2))
	require.Equal(t, map[string]any{"n": 1.0}, object(t, string(receiver.PostsTo("/old")[1].Body))["data"])

	require.Nil(t, object(t, must(t, dir, "", "webhooks", "update", id, "--clear", "envelope", "--json"))["envelope_until"])
	present := mail(3)
	require.Equal(t, "email.received", present["type"])
	require.IsType(t, map[string]any{}, present["data"].(map[string]any)["from"].([]any)[0])

	for _, wrong := range [][]string{{"--envelope", "v0.3"}, {"--envelope-until", "2999-01-01"}, {"--envelope", "v0.4", "--envelope-until", "2001-01-01"}} {
		out, code := fanmail(t, dir, "", append([]string{"webhooks", "update", id}, wrong...)...)
		require.Equal(t, 1, code, wrong)
		require.Contains(t, out, "envelope", wrong)
	}
}
