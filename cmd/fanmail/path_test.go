package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

const mailText = "From: Someone <someone@example.com>\nTo: agent@fanmail.example\nSubject: Tea at four\nMessage-ID: <one@example.com>\n\nCome by.\n"

// listing returns the rows of a list command.
func listing(t *testing.T, dir string, args ...string) []map[string]any {
	t.Helper()
	var rows struct{ Data []map[string]any }
	require.NoError(t, json.Unmarshal([]byte(must(t, dir, "", append(args, "--json")...)), &rows))
	return rows.Data
}

func TestMailThatIsSentIsHeardByListen(t *testing.T) {
	t.Parallel()
	dir := up(t)
	must(t, dir, "", "agents", "create", "agent@fanmail.example")
	out, stop := background(t, dir, "listen", "--events", "email.received")
	out.shows(t, "listening on")
	require.Len(t, listing(t, dir, "webhooks", "list"), 1)

	require.Contains(t, must(t, dir, mailText, "send", "-", "--to", "agent@fanmail.example"), "-  250 ")
	out.shows(t, `"Tea at four" from someone@example.com  attempt 1  verified  → 200`)
	require.Zero(t, stop())
	require.Empty(t, listing(t, dir, "webhooks", "list"), "listen deletes its webhook")
}

func TestListenForwardsWhatItGotAndAnswersLikeTheOther(t *testing.T) {
	t.Parallel()
	dir := up(t)
	bodies := make(chan *http.Request, 10)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err == nil {
			r.Body = io.NopCloser(strings.NewReader(string(b)))
			bodies <- r
		}
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(other.Close)
	must(t, dir, "", "agents", "create", "agent@fanmail.example")
	out, _ := background(t, dir, "listen", "--forward", other.URL)
	out.shows(t, "listening on")
	must(t, dir, `{"n":1}`, "events", "create", "email.sent", "--agent", "agent@fanmail.example")
	got := <-bodies
	require.NotEmpty(t, got.Header.Get(signature.HeaderSignature))
	require.NotEmpty(t, got.Header.Get(signature.HeaderE2A))
	b, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.Contains(t, string(b), `"data":{"n":1}`)
	out.shows(t, "→ 418 (forwarded)")
}

func TestListenFailsAsOftenAsItIsTold(t *testing.T) {
	t.Parallel()
	dir := up(t)
	out, _ := background(t, dir, "listen", "--fail-rate", "100")
	out.shows(t, "listening on")
	must(t, dir, "", "events", "create", "email.sent", "--data", "{}")
	out.shows(t, "verified  → 500 (--fail-rate)")
	webhook := listing(t, dir, "webhooks", "list")[0]["id"].(string)
	require.Contains(t, must(t, dir, "", "deliveries", "list", webhook), "email.sent")
}

func TestCopiesOfAMailAreMailsOfTheirOwn(t *testing.T) {
	t.Parallel()
	dir := up(t)
	must(t, dir, "", "agents", "create", "agent@fanmail.example")
	file := filepath.Join(t.TempDir(), "mail.eml")
	require.NoError(t, os.WriteFile(file, []byte(mailText), 0o600))
	out := must(t, dir, "", "send", file, "--to", "agent@fanmail.example", "--count", "30", "--concurrency", "4")
	require.Contains(t, out, "30 of 30 accepted")
	require.Len(t, listing(t, dir, "events", "list", "--limit", "100"), 30)
	require.Empty(t, listing(t, dir, "events", "list", "--until", "1h"))

	must(t, dir, "", "send", file, "--to", "agent@fanmail.example")
	require.Len(t, listing(t, dir, "events", "list", "--limit", "100"), 30, "the first copy is the mail as it is")

	refused, code := fanmail(t, dir, "", "send", file, "--to", "nobody@fanmail.example")
	require.Equal(t, 1, code)
	require.Contains(t, refused, "550")
	require.Contains(t, refused, "nobody@fanmail.example")
}

func TestTheAPIForPeople(t *testing.T) {
	t.Parallel()
	dir := up(t)
	require.Contains(t, must(t, dir, "", "tenants", "list"), "dev")
	must(t, dir, "", "tenants", "create", "another")
	require.Len(t, listing(t, dir, "tenants", "list"), 2)
	another := ""
	for _, row := range listing(t, dir, "tenants", "list") {
		if row["name"] == "another" {
			another = row["id"].(string)
		}
	}
	key := must(t, dir, "", "keys", "create", "--tenant", another, "--name", "theirs")
	require.Contains(t, key, "secret")
	require.Contains(t, must(t, dir, "", "keys", "list"), "fanmail up")

	made := must(t, dir, "", "webhooks", "create", "--url", "http://127.0.0.1:65535/", "--events", "email.received,email.sent",
		"--max-in-flight", "3", "--description", "nowhere")
	require.Contains(t, made, "whsec_")
	id := listing(t, dir, "webhooks", "list")[0]["id"].(string)
	table := must(t, dir, "", "webhooks", "list")
	require.True(t, strings.HasPrefix(table, "ID "), table)
	require.Contains(t, table, "email.received,email.sent")
	require.Contains(t, must(t, dir, "", "webhooks", "update", id, "--max-in-flight", "5"), "5")
	requireFilterPage(t, dir)
	// A change of one filter keeps the others.
	filters := func(args ...string) any {
		return object(t, must(t, dir, "", append([]string{"webhooks", "update", id, "--json"}, args...)...))["filters"]
	}
	require.Equal(t, map[string]any{"labels": []any{"vip"}}, filters("--label", "vip"))
	require.Equal(t, map[string]any{"labels": []any{"vip"}, "data": map[string]any{"amount": map[string]any{"gte": 10.0}}}, filters("--filter-data", `{"amount": {"gte": 10}}`))
	require.Equal(t, map[string]any{"labels": []any{"new"}, "data": map[string]any{"amount": map[string]any{"gte": 10.0}}}, filters("--label", "new"))
	require.Equal(t, map[string]any{"data": map[string]any{"amount": map[string]any{"gte": 10.0}}}, filters("--clear", "filters.labels"))
	require.Empty(t, filters("--clear", "filters.data"))
	for says, args := range map[string][]string{
		"not JSON": {"--filter-data", "amount > 10"}, "both set and cleared": {"--filter-data", "{}", "--clear", "filters.data"}, "no operator": {"--filter-data", `{"a": {"like": 1}}`},
	} {
		out, code := fanmail(t, dir, "", append([]string{"webhooks", "update", id}, args...)...)
		require.NotZero(t, code)
		require.Contains(t, out, says)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(secret, []byte("hunter2hunter2hunter2\n"), 0o600))
	shown := must(t, dir, "", "webhooks", "update", id, "--header", "X-Api-Key=@"+secret, "--basic-auth", "user:hunter2", "--timeout", "20",
		"--retry-delays", "1m,2h", "--retry-final", "422", "--ed25519", "--json")
	require.NotContains(t, shown, "hunter2")
	var set struct {
		Headers   map[string]string
		Timeout   int
		Retry     struct{ Delays []string }
		Auth      struct{ Username string }
		PublicKey string `json:"public_key"`
	}
	require.NoError(t, json.Unmarshal([]byte(shown), &set))
	require.Equal(t, map[string]string{"X-Api-Key": "***"}, set.Headers)
	require.Equal(t, []string{"1m", "2h"}, set.Retry.Delays)
	require.Equal(t, 20, set.Timeout)
	require.Equal(t, "user", set.Auth.Username)
	require.True(t, strings.HasPrefix(set.PublicKey, signature.PublicPrefix))
	shown = must(t, dir, "", "webhooks", "update", id, "--clear", "headers,auth,retry,timeout,ed25519", "--json")
	require.Contains(t, strings.ReplaceAll(shown, " ", ""), `"auth":null`)
	require.NotContains(t, shown, "X-Api-Key")
	require.NotContains(t, shown, "whpk_")
	require.Contains(t, must(t, dir, "", "webhooks", "rotate", id, "--signing-secret", "@"+secret), "hunter2hunter2hunter2")
	require.Contains(t, must(t, dir, "", "webhooks", "disable", id), "false")
	out, code := fanmail(t, dir, "", "webhooks", "test", id)
	require.Equal(t, 1, code)
	require.Contains(t, out, "(409)")
	must(t, dir, "", "webhooks", "enable", id)
	must(t, dir, "", "webhooks", "test", id)
	require.Contains(t, must(t, dir, "", "webhooks", "rotate", id), "whsec_")
	out, code = fanmail(t, dir, "", "webhooks", "create", "--url", "ftp://x", "--events", "email.sent")
	require.Equal(t, 1, code)
	require.Contains(t, out, "url")
	delivery := listing(t, dir, "deliveries", "list", id)[0]["id"].(string)
	require.Contains(t, must(t, dir, "", "deliveries", "get", delivery), delivery)
	must(t, dir, "", "webhooks", "delete", id)
	require.Empty(t, listing(t, dir, "webhooks", "list"))

	must(t, dir, "", "agents", "create", "a@fanmail.example")
	must(t, dir, "", "agents", "update", "a@fanmail.example", "--webhook-url", "http://127.0.0.1:65535/agent")
	require.Contains(t, must(t, dir, "", "agents", "get", "a@fanmail.example"), "http://127.0.0.1:65535/agent")
	ruled := must(t, dir, "", "agents", "update", "a@fanmail.example", "--allow-sender", "@friend.example", "--allow-sender", "ann@example.org",
		"--deny-sender", "*.spam.example", "--require-dmarc")
	for _, kept := range []string{"http://127.0.0.1:65535/agent", "@friend.example", "ann@example.org", "*.spam.example"} {
		require.Contains(t, ruled, kept)
	}
	require.Regexp(t, `require_dmarc +true`, ruled)
	cleared := must(t, dir, "", "agents", "update", "a@fanmail.example", "--clear", "allow_senders,deny_senders", "--no-require-dmarc")
	require.NotContains(t, cleared, "friend.example")
	require.NotContains(t, cleared, "spam.example")
	require.Regexp(t, `require_dmarc +false`, cleared)
	must(t, dir, "", "agents", "delete", "a@fanmail.example")
	require.Empty(t, listing(t, dir, "agents", "list"))
}

// requireFilterPage runs the commands of docs/how-to/filter-events.md.
func requireFilterPage(t *testing.T, dir string) {
	t.Helper()
	page, err := os.ReadFile("../../docs/how-to/filter-events.md")
	require.NoError(t, err)
	id, commands := "", 0
	for _, m := range regexp.MustCompile("(?m)^fanmail (webhooks .*)$").FindAllStringSubmatch(string(page), -1) {
		var args []string
		for i, part := range strings.Split(strings.ReplaceAll(m[1], "wh_…", id), "'") {
			if i%2 == 1 { // in quotation marks
				args = append(args, part)
			} else {
				args = append(args, strings.Fields(part)...)
			}
		}
		shown := object(t, must(t, dir, "", append(args, "--json")...))
		id = shown["id"].(string)
		commands++
	}
	require.Equal(t, 4, commands)
	filters := object(t, must(t, dir, "", "webhooks", "get", id, "--json"))["filters"]
	require.Equal(t, map[string]any{"data": map[string]any{"to.address": map[string]any{"prefix": "sales@"}}}, filters)
	must(t, dir, "", "webhooks", "delete", id)
}
