package replay_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// The counts are read with what no runner has counted yet, so that they lag behind the deliveries by nothing, whether a
// runner works on the replay, waits, or is dead.
func TestTheCountsOfAReplayIncludeWhatNoRunnerHasCounted(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.insert(12)
	w := r.webhook("/in")
	r.sink.Script("/in", sink.Status(http.StatusServiceUnavailable))
	made := r.create(replay.Request{WebhookID: w})
	stop := r.runner(replay.Options{})
	require.Eventually(t, func() bool {
		return r.count(`SELECT count(*) FROM fanmail.replay_deliveries WHERE replay_id = $1 AND state > 0`, made.ID) == 12 &&
			r.count(`SELECT count(*) FROM fanmail.replay_deliveries WHERE replay_id = $1 AND state = 2`, made.ID) > 0
	}, patience, 20*time.Millisecond)
	stop()
	require.Equal(t, [4]int64{12, 12, 0, 0}, progress(r.get(made.ID)))
	// The dispatcher may be writing other outcomes of these rows, in another order.
	require.Eventually(t, func() bool {
		_, err := r.pool.Exec(context.Background(), `WITH n AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM fanmail.webhook_subscriber_deliveries WHERE replay_id = $1)
		UPDATE fanmail.webhook_subscriber_deliveries AS d SET status = CASE WHEN n.n % 2 = 0 THEN 'delivered' ELSE 'failed' END,
			next_retry_at = NULL, leased = false, finished_at = now() FROM n WHERE n.id = d.id`, made.ID)
		return err == nil
	}, patience, 20*time.Millisecond)
	require.Equal(t, [4]int64{12, 12, 6, 6}, progress(r.get(made.ID)))
	list, _, err := r.replays.List(context.Background(), r.tenant, subscribers.Place{}, 10)
	require.NoError(t, err)
	require.Equal(t, [4]int64{12, 12, 6, 6}, progress(list[0]))
	require.Nil(t, list[0].FinishedAt)

	// A runner counts each once.
	r.runner(replay.Options{})
	require.Equal(t, [4]int64{12, 12, 6, 6}, progress(r.waitFor(made.ID, replay.Completed)))
}

// A replay that waits for retries is released for up to a minute.
func TestAReleasedReplayIsWokenWhenADeliveryEnds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.insert(3)
	w := r.webhook("/in")
	r.sink.Script("/in", sink.Status(http.StatusServiceUnavailable))
	made := r.create(replay.Request{WebhookID: w})
	r.runner(replay.Options{})
	require.Eventually(t, func() bool {
		return r.count(`SELECT count(*) FROM fanmail.replays WHERE leased_until = '-infinity' AND due_at > now() AND moved_at < now() - interval '3 seconds'`) == 1
	}, patience, 20*time.Millisecond, "it is released")
	r.exec(`UPDATE fanmail.replays SET due_at = now() + interval '1 hour', leased_until = '-infinity'`)
	r.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET status = 'delivered', next_retry_at = NULL, leased = false, finished_at = now() WHERE replay_id = $1`, made.ID)
	require.Equal(t, [4]int64{3, 3, 3, 0}, progress(r.waitFor(made.ID, replay.Completed)), "it did not wait for an hour")
}
