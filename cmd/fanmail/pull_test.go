package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

func TestADeveloperMissesNothingWhileAway(t *testing.T) {
	t.Parallel()
	dir := up(t)
	out, stop := background(t, dir, "listen", "--pull", "laptop", "--events", "email.sent")
	out.shows(t, "created wh_")
	must(t, dir, `{"n":1}`, "events", "create", "email.sent")
	out.shows(t, "→ 200")
	require.Contains(t, out.String(), "attempt 1  verified")
	require.Zero(t, stop())

	must(t, dir, `{"n":2}`, "events", "create", "email.sent")
	type post struct {
		header http.Header
		body   string
	}
	posts := make(chan post, 10)
	var broken atomic.Bool
	broken.Store(true)
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		if b, err := io.ReadAll(r.Body); err == nil {
			posts <- post{r.Header, string(b)}
		}
	}))
	t.Cleanup(target.Close)
	out, stop = background(t, dir, "listen", "--pull", "laptop", "--forward", target.URL)
	out.shows(t, "found wh_")
	out.shows(t, "→ 500 (forwarded)")
	_, secret, _ := strings.Cut(out.String(), "every start: ")
	secret, _, _ = strings.Cut(secret, "\n")
	var failed []map[string]any
	require.Eventually(t, func() bool { // it prints, then reports
		failed = listing(t, dir, "deliveries", "list", "--status", "pending")
		return len(failed) == 1 && failed[0]["last_error"] != nil
	}, time.Minute, 20*time.Millisecond, "only a 2xx of the target acknowledges")
	require.Equal(t, "answered 500 (forwarded)", failed[0]["last_error"])
	broken.Store(false)
	must(t, dir, "", "deliveries", "retry", failed[0]["id"].(string))
	got := <-posts
	require.Contains(t, got.body, `"data":{"n":2}`)
	require.NoError(t, signature.Verify(secret, got.header, []byte(got.body), time.Now(), 0))
	require.Equal(t, "2", got.header.Get("Fanmail-Attempt"))
	out.shows(t, "→ 200 (forwarded)")
	require.Zero(t, stop())
	require.Len(t, listing(t, dir, "webhooks", "list"), 1, "the webhook stays")
	require.Contains(t, must(t, dir, "", "replay", "--since", "1h", "--mode", "all", "--dry-run"), " (kind pull)\n")
	require.Empty(t, listing(t, dir, "deliveries", "list", "--status", "pending"))
}

// TestTheConsumerOfTheDocsConsumes runs the program and the commands of docs/how-to/receive-without-a-public-endpoint.md.
func TestTheConsumerOfTheDocsConsumes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/how-to/receive-without-a-public-endpoint.md")
	require.NoError(t, err)
	source := regexp.MustCompile("(?ms)^```go\n(.*?)^```$").FindSubmatch(page)
	require.NotNil(t, source)
	work := t.TempDir()
	file, bin := filepath.Join(work, "main.go"), filepath.Join(work, "consumer")
	require.NoError(t, os.WriteFile(file, source[1], 0o600))
	built, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, file).CombinedOutput()
	require.NoError(t, err, "%s", built)

	dir := up(t)
	hook := object(t, must(t, dir, "", "webhooks", "create", "--kind", "pull", "--events", "email.sent", "--json"))["id"].(string)
	key := object(t, must(t, dir, "", "keys", "create", "--scope", "consume", "--name", "worker", "--json"))["secret"].(string)
	creds, err := app.ReadCredentials(dir)
	require.NoError(t, err)
	must(t, dir, `{"n":1}`, "events", "create", "email.sent")
	out := &screen{}
	consumer := exec.CommandContext(t.Context(), bin)
	consumer.Env, consumer.Stdout, consumer.Stderr = []string{"FANMAIL_API=" + creds.API, "FANMAIL_KEY=" + key, "WEBHOOK=" + hook}, out, out
	require.NoError(t, consumer.Start())
	out.shows(t, `"data":{"n":1}`)
	must(t, dir, `{"n":2}`, "events", "create", "email.sent")
	out.shows(t, `"data":{"n":2}`)
	require.Eventually(t, func() bool { return len(listing(t, dir, "deliveries", "list", "--status", "delivered")) == 2 }, time.Minute, 50*time.Millisecond)
	require.NoError(t, consumer.Process.Kill())
	_ = consumer.Wait()

	// The same by hand, with a webhook that no poll of the consumer still waits for.
	hook = object(t, must(t, dir, "", "webhooks", "create", "--kind", "pull", "--events", "email.approved", "--json"))["id"].(string)
	must(t, dir, `{"n":3}`, "events", "create", "email.approved")
	var polled struct {
		Data []polledDelivery `json:"data"`
	}
	require.NoError(t, json.Unmarshal([]byte(must(t, dir, "", "webhooks", "poll", hook, "--wait", "30", "--json")), &polled))
	require.Len(t, polled.Data, 1)
	id := polled.Data[0].DeliveryID
	_, code := fanmail(t, dir, "", "webhooks", "ack", hook, "--release", id)
	require.NotZero(t, code, "of which lease?")
	released := object(t, must(t, dir, "", "webhooks", "ack", hook, "--lease", polled.Data[0].Lease, "--release", id, "--json"))
	require.EqualValues(t, 1, released["released"])
	require.Contains(t, must(t, dir, "", "webhooks", "poll", hook, "--ack"), id)
	require.EqualValues(t, 1, object(t, must(t, dir, "", "webhooks", "ack", hook, id, "--json"))["unchanged"])
	_, code = fanmail(t, dir, "", "webhooks", "ack", hook)
	require.NotZero(t, code)
}
