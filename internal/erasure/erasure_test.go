package erasure_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zaptest"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/sink"
)

const (
	ann  = "ann@shop.example"
	carl = "carl@other.example"
)

// TestAnAddressIsErasedEverywhereAndNothingElseIs has two tenants with the same mails, one of which both got.
func TestAnAddressIsErasedEverywhereAndNothingElseIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, other := r.tenant(), r.tenant()
	r.webhook(one, "/one")
	r.webhook(other, "/other")
	r.sink.Script("/one", sink.FailAttempts(1, sink.Answer{Status: http.StatusServiceUnavailable, Body: []byte("not yet")}))
	r.engine()
	for _, tenant := range []events.TenantID{one, other} {
		r.mail(letter{from: "Ann@Shop.EXAMPLE", to: "robot@agents.example"}, tenant)
		r.mail(letter{from: carl, to: "team@agents.example", cc: "ANN@shop.example"}, tenant)
		r.mail(letter{from: carl, to: "team@agents.example", bcc: ann}, tenant)
		r.mail(letter{from: ann, to: "robot@agents.example", large: true}, tenant)
		r.mail(letter{from: carl, to: "robot@agents.example", cc: "xann@shop.example"}, tenant)
		r.mail(letter{from: carl, to: "robot@agents.example", large: true}, tenant)
	}
	r.mail(letter{from: ann, to: "robot@agents.example"}, one, other)
	retryNow(r)
	r.delivered()
	before, stays := r.all(one), r.all(other)
	require.Len(t, before["events"], 7)
	require.Len(t, before["stream"], 7)
	require.Len(t, before["blobs"], 2)

	done := r.end(r.ofAddress(one, "ann@SHOP.example"))
	after := r.all(one)
	for table, n := range map[string]int{"events": 2, "messages": 2, "webhook_deliveries": 2, "webhook_subscriber_deliveries": 2, "stream": 2, "blobs": 1, "outbox": 0, "raws": 2} {
		require.Len(t, after[table], n, table)
		require.Subset(t, before[table], after[table], "%s: what stays is unchanged", table)
	}
	require.Equal(t, stays, r.all(other), "nothing of the other tenant has changed")
	require.Equal(t, map[string]int64{
		"events": 5, "messages": 5, "raw_mails": 4, "deliveries": 5, "agent_deliveries": 5, "stream_messages": 5, "blobs": 1, "attempts": 10,
	}, done.Removed, "the raw mail that both got stays")
	require.Equal(t, "key_test", done.RequestedBy)

	require.NotEmpty(t, r.holding(ann))
	last := r.end(r.ofAddress(other, ann))
	require.EqualValues(t, 5, last.Removed["raw_mails"], "now nobody names the raw mail that both got")
	require.Equal(t, []string{"events: 2", "MAIL_EVENTS: message 5", "MAIL_EVENTS: message 11"}, without(r.holding("xann@shop.example"), "message_raws: 2"))
	require.Len(t, r.holding(ann), len(r.holding("xann@shop.example")), "nothing else has the address in any column, message or erasure")
}

// TestAnAddressIsErasedInEachSpelling has what a mail says in another spelling than the request.
func TestAnAddressIsErasedInEachSpelling(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant := r.tenant()
	for asked, has := range map[string]string{
		"ann@xn--bcher-kva.example": "Ann@bücher.example", "bea@bücher.example": "bea@xn--bcher-kva.example", "jörg@shop.example": "jo\u0308rg@shop.example", `"carl c"@shop.example`: `"Carl C"@shop.example`,
		"dora@shop.example": `"dora"@shop.example`,
	} {
		r.mail(letter{from: carl, to: "robot@agents.example", bcc: has}, tenant)
		r.mail(letter{from: has, to: "robot@agents.example"}, tenant)
		require.EqualValues(t, 2, r.end(r.ofAddress(tenant, asked)).Removed["events"], asked)
	}
}

func without(list []string, text string) (out []string) {
	for _, s := range list {
		if s != text {
			out = append(out, s)
		}
	}
	return out
}

// retryNow makes failed attempts due, until all are delivered.
func retryNow(r *rig) {
	r.t.Helper()
	require.Eventually(r.t, func() bool {
		r.exec(`UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE status = 'pending' AND NOT leased AND attempts > 0`)
		for _, id := range r.hooksOf() {
			subscribers.WakeDue(r.nc, id)
		}
		return r.count(`SELECT count(*) FROM fanmail.outbox`) == 0 && r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending'`) == 0
	}, patience, 50*time.Millisecond)
}

func (r *rig) hooksOf() []events.WebhookID {
	rows, err := r.pool.Query(context.Background(), `SELECT id FROM fanmail.webhooks`)
	require.NoError(r.t, err)
	ids, err := pgx.CollectRows(rows, pgx.RowTo[events.WebhookID])
	require.NoError(r.t, err)
	return ids
}

// TestAMessageIsErasedWithTheEventsThatNameIt has an event of a producer about a received mail.
func TestAMessageIsErasedWithTheEventsThatNameIt(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant := r.tenant()
	_, messages := r.mail(letter{from: ann, to: "robot@agents.example"}, tenant)
	r.mail(letter{from: carl, to: "robot@agents.example"}, tenant)
	require.NoError(t, pgx.BeginFunc(t.Context(), r.pool, func(tx pgx.Tx) error {
		_, err := outbox.Insert(t.Context(), tx, events.Event{TenantID: tenant, Type: "email.sent", MessageID: messages[0].String(), Data: []byte(`{"reply":true}`)})
		return err
	}))
	done := r.end(r.ofMessage(tenant, messages[0]))
	require.Equal(t, map[string]int64{"events": 2, "outbox": 2, "messages": 1, "raw_mails": 1, "agent_deliveries": 1}, done.Removed)
	require.Equal(t, messages[0], *done.MessageID)
	require.Empty(t, r.holding(ann))
	require.NotEmpty(t, r.holding(carl))
	require.Equal(t, 1, r.count(`SELECT count(*) FROM fanmail.outbox`))
	require.Equal(t, 2, r.count(`SELECT count(*) FROM fanmail.event_keys`), "a mail that is sent again does not come back")
}

// TestABatchIsWholeOrNotAtAll lets the end of a batch fail, and goes on with another worker as after a crash.
func TestABatchIsWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant := r.tenant()
	const n = 250
	for range n {
		r.mail(letter{from: ann, to: "robot@agents.example"}, tenant)
	}
	e := r.ofAddress(tenant, ann)
	events := func() int { return r.count(`SELECT count(*) FROM fanmail.events`) }
	removed := func() int {
		now, err := erasure.Get(t.Context(), r.pool, tenant, e.ID)
		require.NoError(t, err)
		return int(now.Removed["events"])
	}
	// The save of the second batch fails: it removes what the first one has counted twice.
	r.exec(`CREATE FUNCTION fanmail.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'torn'; END $$`)
	r.exec(`CREATE TRIGGER fail BEFORE UPDATE ON fanmail.erasures FOR EACH ROW WHEN (NEW.removed <> OLD.removed AND OLD.removed <> '{}') EXECUTE FUNCTION fanmail.fail()`)
	require.ErrorContains(t, r.worker().Round(t.Context()), "torn")
	require.Less(t, events(), n, "the first batch is committed")
	require.Positive(t, events())
	require.Equal(t, n-events(), removed(), "what is removed is counted, and nothing else")
	require.Equal(t, events(), r.count(`SELECT count(*) FROM fanmail.messages`))
	require.NoError(t, r.worker().Round(t.Context()), "it is not tried again at once")
	r.exec(`DROP TRIGGER fail ON fanmail.erasures`)
	r.exec(`UPDATE fanmail.erasures SET due_at = now()`)
	done := r.end(e)
	require.EqualValues(t, n, done.Removed["events"])
	require.EqualValues(t, n, done.Removed["raw_mails"])
	require.Empty(t, r.holding(ann))
}

// TestMailIsErasedUnderTraffic erases while mails come, are fanned out and delivered.
func TestMailIsErasedUnderTraffic(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	one, other := r.tenant(), r.tenant()
	r.webhook(one, "/one")
	r.webhook(other, "/other")
	r.engine()
	const n = 120
	for i := range n {
		r.mail(letter{from: ann, to: "robot@agents.example"}, one)
		if i%3 == 0 {
			r.mail(letter{from: carl, to: "robot@agents.example"}, one, other)
		}
	}
	e := r.ofAddress(one, ann)
	ended := make(chan erasure.Erasure, 1)
	go func() { ended <- r.end(e) }()
	const later = 20
	for range later {
		r.mail(letter{from: ann, to: "robot@agents.example"}, one)
	}
	done := <-ended
	r.delivered()
	require.EqualValues(t, n, done.Removed["events"])
	require.Equal(t, later, r.count(`SELECT count(*) FROM fanmail.events WHERE tenant_id = $1 AND position('ann@' IN convert_from(envelope, 'UTF8')) > 0`, one), "later mail is not part of it")
	require.Equal(t, later+n/3, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE tenant_id = $1 AND status = 'delivered'`, one))
	require.Equal(t, n/3, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE tenant_id = $1 AND status = 'delivered'`, other))
	require.Len(t, r.messages(events.EventSubjects(one, nil)), later+n/3)
}

// TestAnErasedEventIsNotReplayed replays from the stream before the stream has lost the message, and after it.
func TestAnErasedEventIsNotReplayed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant := r.tenant()
	hook := r.webhook(tenant, "/hook")
	r.engine()
	_, messages := r.mail(letter{from: ann, to: "robot@agents.example"}, tenant)
	r.mail(letter{from: carl, to: "robot@agents.example"}, tenant)
	r.delivered()
	r.run(replay.NewRunner(r.pool, r.nc, r.js, r.registry, replay.Options{Rate: 5000, StepInterval: 10 * time.Millisecond, Log: zaptest.NewLogger(t)}).Run)
	replays := replay.NewStore(r.pool)
	again := func() replay.Replay {
		made, err := replays.Create(t.Context(), tenant, replay.Request{Since: time.Now().Add(-time.Hour), WebhookID: hook, Mode: replay.All})
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			now, err := replays.Get(t.Context(), tenant, made.ID)
			require.NoError(t, err)
			made = now
			return made.State == replay.Completed
		}, patience, 10*time.Millisecond)
		return made
	}
	posts := r.sink.Count()
	e := r.ofMessage(tenant, messages[0])
	rows := erasure.New(r.pool, erasure.Options{Rows: true, Settle: time.Nanosecond})
	require.NoError(t, rows.Round(t.Context()))
	require.Len(t, r.messages(">"), 2, "the stream still has the message")
	half := again()
	require.Contains(t, []string{"jetstream", "both"}, half.Source)
	require.EqualValues(t, 1, half.Delivered)
	require.Equal(t, posts+1, r.sink.Count(), "the erased event is not sent")

	r.end(e)
	require.Len(t, r.messages(">"), 1)
	require.EqualValues(t, 1, again().Delivered)
	require.Equal(t, posts+2, r.sink.Count())
	require.Empty(t, r.holding(messages[0].String()), "deliveries that a replay counts say nothing of the mail")
}

// TestAnAttemptInFlightLeavesNothing holds an answer back until the rows of its delivery are gone.
func TestAnAttemptInFlightLeavesNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant := r.tenant()
	r.webhook(tenant, "/hook")
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	r.sink.Script("/hook", func(sink.Call) sink.Answer {
		arrived <- struct{}{}
		return sink.Answer{Status: http.StatusServiceUnavailable, Body: []byte("no " + ann), Until: release}
	})
	r.engine()
	_, messages := r.mail(letter{from: ann, to: "robot@agents.example"}, tenant)
	<-arrived
	e := r.ofMessage(tenant, messages[0])
	rows := erasure.New(r.pool, erasure.Options{Rows: true, Settle: time.Nanosecond})
	require.NoError(t, rows.Round(t.Context()))
	require.Zero(t, r.count(`SELECT count(*) FROM fanmail.webhook_subscriber_deliveries`))
	close(release)
	require.Eventually(t, func() bool { return r.count(`SELECT count(*) FROM fanmail.webhook_delivery_attempts`) == 1 }, patience, 10*time.Millisecond, "the attempt is written late")
	done := r.end(e)
	require.EqualValues(t, 1, done.Removed["attempts"])
	require.Empty(t, r.holding(ann))
}

// TestWithoutATenantNothingIsErased: a zero id is NULL in SQL.
func TestWithoutATenantNothingIsErased(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, tenant, none := t.Context(), r.tenant(), events.TenantID{}
	ids, messages := r.mail(letter{from: ann, to: "robot@agents.example"}, tenant)
	_, err := erasure.OfAddress(ctx, r.pool, none, ann, "key_test")
	require.Error(t, err)
	_, err = erasure.OfMessage(ctx, r.pool, none, messages[0], "key_test")
	require.Error(t, err)
	before := r.all(tenant)
	require.NoError(t, pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		rec, _, err := outbox.Find(ctx, tx, tenant, ids[0])
		require.NoError(t, err)
		n, err := outbox.Forget(ctx, tx, none, []events.Record{rec})
		require.NoError(t, err)
		require.Zero(t, n)
		at := []time.Time{rec.CreatedAt}
		n, err = outbox.EraseEvents(ctx, tx, none, ids, at)
		require.NoError(t, err)
		require.Zero(t, n)
		gone, err := subscribers.EraseOfEvents(ctx, tx, none, ids, at)
		require.NoError(t, err)
		require.Zero(t, gone.Deliveries+gone.Blanked)
		raws, err := mailbox.Erase(ctx, tx, none, messages, at)
		require.NoError(t, err)
		require.Empty(t, raws)
		n, err = agentwebhook.Erase(ctx, tx, none, messages, at)
		require.NoError(t, err)
		require.Zero(t, n)
		return replay.Blank(ctx, tx, none, ids)
	}))
	require.Equal(t, before, r.all(tenant))
	list, err := erasure.List(ctx, r.pool, tenant, pg.Place{}, 10)
	require.NoError(t, err)
	require.Empty(t, list)
}

// TestAnErasureWaitsForTheBlobStore has a process without one.
func TestAnErasureWaitsForTheBlobStore(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant := r.tenant()
	_, messages := r.mail(letter{from: ann, to: "robot@agents.example", large: true}, tenant)
	e := r.ofMessage(tenant, messages[0])
	without := erasure.New(r.pool, erasure.Options{Rows: true, Outside: true, JS: r.js, Settle: time.Nanosecond})
	require.Eventually(t, func() bool { return without.Round(t.Context()) != nil }, patience, time.Millisecond)
	now, err := erasure.Get(t.Context(), r.pool, tenant, e.ID)
	require.NoError(t, err)
	require.Equal(t, erasure.Running, now.State, "it is not called done")
	r.exec(`UPDATE fanmail.erasures SET due_at = now()`)
	require.EqualValues(t, 1, r.end(e).Removed["blobs"])
	for key, err := range r.store.List(t.Context(), "raw/") {
		require.NoError(t, err)
		for blob, err := range r.store.List(t.Context(), key) {
			require.NoError(t, err)
			require.Fail(t, "a blob is left", blob)
		}
	}
}
