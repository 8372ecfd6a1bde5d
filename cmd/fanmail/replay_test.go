package main

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func object(t *testing.T, text string) map[string]any {
	t.Helper()
	var o map[string]any
	require.NoError(t, json.Unmarshal([]byte(text), &o), text)
	return o
}

func TestWhatWasMissedIsReplayedFromTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := up(t)
	receiver := sink.New(t)
	for range 3 {
		must(t, dir, `{"n":1}`, "events", "create", "email.received")
	}
	// The webhook is created after the fan-out, so that it has missed the events.
	require.Eventually(t, func() bool {
		return object(t, must(t, dir, "", "stats", "--json"))["events"].(map[string]any)["waiting"] == 0.0
	}, time.Minute, 20*time.Millisecond)
	hook := object(t, must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.received", "--json"))["id"].(string)
	out := must(t, dir, "", "replay", "--since", "1h", "--dry-run")
	require.Contains(t, out, "3 deliveries to 1 webhooks")
	require.EqualValues(t, 3, object(t, must(t, dir, "", "replay", "--since", "1h", "--dry-run", "--json"))["deliveries"])
	require.Empty(t, listing(t, dir, "replay", "list"))
	out = must(t, dir, "", "replay", "--since", "1h", "--webhook", hook, "--json")
	done := object(t, out)
	require.Equal(t, "completed", done["state"])
	require.EqualValues(t, 3, done["delivered"])
	require.Equal(t, 3, receiver.CountTo("/in"))
	require.Equal(t, done["id"], listing(t, dir, "replay", "list")[0]["id"])
	require.Equal(t, "completed", object(t, must(t, dir, "", "replay", "watch", done["id"].(string), "--json"))["state"])

	hold := make(chan struct{})
	receiver.Script("/in", sink.Hang(hold))
	id := object(t, must(t, dir, "", "replay", "--since", "1h", "--mode", "all", "--detach", "--json"))["id"].(string)
	require.NoError(t, receiver.WaitForPath(context.Background(), "/in", 6))
	must(t, dir, "", "replay", "cancel", id)
	close(hold)
	out, code := fanmail(t, dir, "", "replay", "watch", id)
	require.Equal(t, 1, code)
	require.Contains(t, out, id+" was cancelled")

	// More than one webhook gets events only after a yes.
	must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/second"), "--events", "email.received")
	out, code = fanmail(t, dir, "y\n", "replay", "--since", "1h", "--mode", "all")
	require.Equal(t, 1, code)
	require.Contains(t, out, "6 deliveries to 2 webhooks")
	require.Contains(t, out, "add --yes")
	require.Zero(t, receiver.CountTo("/second"))
	must(t, dir, "", "replay", "--since", "1h", "--yes")
	require.Equal(t, 3, receiver.CountTo("/second"))
	require.Contains(t, must(t, dir, "", "activity", "--window", "1h"), hook)
	require.Len(t, object(t, must(t, dir, "", "activity", "--json"))["webhooks"], 2)

	out, code = fanmail(t, dir, "", "replay")
	require.Equal(t, 1, code)
	require.Contains(t, out, "--since is required")
	out, code = fanmail(t, dir, "", "replay", "--since", "1h", "--webhook", "wh_"+id[4:])
	require.Equal(t, 1, code)
	require.Contains(t, out, "404")
}

func TestFailedDeliveriesAreRetriedFromTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := up(t)
	receiver := sink.New(t)
	receiver.Script("/in", sink.Status(500))
	hook := object(t, must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.received", "--json"))["id"].(string)
	for range 3 {
		must(t, dir, `{"n":1}`, "events", "create", "email.received")
	}
	require.NoError(t, receiver.WaitForPath(context.Background(), "/in", 3))
	creds, err := app.ReadCredentials(dir)
	require.NoError(t, err)
	pool, err := pgxpool.New(context.Background(), creds.DatabaseURL)
	require.NoError(t, err)
	defer pool.Close()
	require.Eventually(t, func() bool { // once the outcomes are recorded
		tag, err := pool.Exec(context.Background(), `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'failed', next_retry_at = NULL, finished_at = now()
			WHERE attempts = 1`)
		require.NoError(t, err)
		return tag.RowsAffected() == 3
	}, patience, 10*time.Millisecond)
	receiver.Script("/in", nil)
	require.Contains(t, must(t, dir, "", "webhooks", "retry", hook, "--since", "1h"), "3 deliveries are pending again")
	require.NoError(t, receiver.WaitForPath(context.Background(), "/in", 6))
	require.Contains(t, must(t, dir, "", "webhooks", "retry", hook, "--since", "1h"), "0 deliveries")
}

func TestTheFanoutIsResetFromTheCommandLine(t *testing.T) {
	t.Parallel()
	dir := up(t)
	receiver := sink.New(t)
	must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.received")
	must(t, dir, `{"n":1}`, "events", "create", "email.received")
	require.NoError(t, receiver.WaitForPath(context.Background(), "/in", 1))
	out := must(t, dir, "", "fanout", "reset", "--since", "1h")
	require.Contains(t, out, "goes on from sequence 1")
	require.Contains(t, out, "met 1 of 1 events again: 1 were fanned out already and are skipped, 0 were not")
	require.Contains(t, out, "nothing is sent again by this; to send again: fanmail replay --mode all --since 20")
	require.Contains(t, must(t, dir, "", "fanout", "reset", "--to-sequence", "1"), "goes on from sequence 1")
	must(t, dir, `{"n":2}`, "events", "create", "email.received")
	require.NoError(t, receiver.WaitForPath(context.Background(), "/in", 2))
	require.Len(t, listing(t, dir, "events", "list"), 2)
	require.Equal(t, 2, receiver.CountTo("/in"), "no event is delivered twice")
	out, code := fanmail(t, dir, "", "fanout", "reset")
	require.Equal(t, 1, code)
	require.Contains(t, out, "--to-sequence or --since")
	out, code = fanmail(t, dir, "", "fanout", "reset", "--to-sequence", "1", "--detach")
	require.Equal(t, 1, code)
	require.Contains(t, out, "go with --resend")

	// Then the events are sent again, by a replay of each tenant that has some.
	out = must(t, dir, "", "fanout", "reset", "--to-sequence", "1", "--resend")
	require.Contains(t, out, "met 2 of 2 events again: 2 were fanned out already")
	require.NotContains(t, out, "nothing is sent again")
	require.Contains(t, out, "is completed: matched 2, delivered 2, failed 0")
	require.Equal(t, 4, receiver.CountTo("/in"), "each event once more")
	out = must(t, dir, "", "fanout", "reset", "--since", "1h", "--resend", "--detach", "--tenant", "ten_0123456789abcdef0123456789abcdef")
	require.Contains(t, out, "no tenant has an event to send again")
}
