package dispatch_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestTheAttemptsLogKeepsASmallPieceOfTheAnswerAsText(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := r.webhook("/w")
	r.sink.Script("/w", sink.Always(sink.Answer{Status: http.StatusInternalServerError, Body: []byte("no \xff\x00 room" + strings.Repeat("x", 64<<10))}))
	r.relay()
	r.dispatcher()
	r.insert(1)
	r.until(w, func(v row) bool { return v.Attempts == 1 })
	var response, reason string
	var status int
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT response, reason, status_code FROM fanmail.webhook_delivery_attempts`).Scan(&response, &reason, &status))
	require.True(t, strings.HasPrefix(response, "no \uFFFD roomxxx"), "%.40q", response)
	require.True(t, utf8.ValidString(response))
	require.LessOrEqual(t, len(response), 1<<10+8)
	require.Equal(t, "status_5xx", reason)
	require.Equal(t, http.StatusInternalServerError, status)
}

func TestAnAttemptIsGivenUpAfterFifteenSeconds(t *testing.T) {
	t.Parallel()
	require.Equal(t, 15*time.Second, dispatch.AttemptTimeout)
	r := newRig(t)
	hold := make(chan struct{})
	defer close(hold)
	hangs, drips := r.webhook("/hangs"), r.webhook("/drips")
	r.sink.Script("/hangs", sink.Hang(hold))
	r.sink.Script("/drips", sink.Always(sink.Answer{Status: http.StatusInternalServerError, Body: []byte("no"), Ends: hold}))
	r.relay()
	r.dispatcher()
	r.insert(1)
	for _, w := range []events.WebhookID{hangs, drips} {
		v := r.until(w, func(v row) bool { return v.Attempts == 1 })
		require.Zero(t, *v.Code, "no whole answer came")
		require.Equal(t, "no complete answer within 15 s", *v.Error)
	}
	var n, ms int
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT count(*), min(duration_ms) FROM fanmail.webhook_delivery_attempts WHERE reason = 'timeout'`).Scan(&n, &ms))
	require.Equal(t, 2, n)
	require.GreaterOrEqual(t, ms, 15_000)
}

func TestLastDeliveredAtIsWrittenOnceInSomeSeconds(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.webhook("/w")
	r.exec(`CREATE TABLE touches (at timestamptz)`)
	r.exec(`CREATE FUNCTION note_touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO touches VALUES (clock_timestamp()); RETURN NEW; END $$`)
	r.exec(`CREATE TRIGGER note_touch AFTER UPDATE OF last_delivered_at ON fanmail.webhooks FOR EACH ROW EXECUTE FUNCTION note_touch()`)
	r.relay()
	r.dispatcher()
	start := time.Now()
	for range 10 {
		r.insert(50)
	}
	r.settles(map[string]int{"delivered": 500})
	var touches int
	var recent bool
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT count(*) FROM touches`).Scan(&touches))
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT last_delivered_at > now() - interval '2 minutes' FROM fanmail.webhooks`).Scan(&recent))
	require.True(t, recent)
	require.Positive(t, touches)
	require.LessOrEqual(t, touches, 1+int(time.Since(start)/(5*time.Second)), "not with every one of 500")
}

func TestLastDeliveredAtEndsAtTheLastSuccess(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.webhook("/w")
	r.relay()
	stop := r.dispatcher()
	at := func(what string) (at time.Time) {
		require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT `+what).Scan(&at))
		return at
	}
	const last = `max(last_delivered_at) FROM fanmail.webhooks`
	// deliver returns a time before the delivery that it makes.
	deliver := func(n int) time.Time {
		before := at(`clock_timestamp()`)
		r.insert(1)
		r.settles(map[string]int{"delivered": n})
		return before
	}
	first := deliver(1)
	require.True(t, at(last).After(first))
	second := deliver(2) // is not written with its outcome
	require.Eventually(t, func() bool { return at(last).After(second) }, time.Minute, 50*time.Millisecond)
	third := deliver(3)
	stop()
	require.True(t, at(last).After(third), "a dispatcher that stops catches up")
}
