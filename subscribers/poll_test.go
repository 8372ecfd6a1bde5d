package subscribers_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// pulled creates a webhook of kind pull.
func (s *tenantStore) pulled(t *testing.T, change ...func(*subscribers.Webhook)) subscribers.Webhook {
	t.Helper()
	w := subscribers.Webhook{Kind: subscribers.KindPull, Events: []events.Type{events.EmailReceived}, Enabled: true}
	for _, f := range change {
		f(&w)
	}
	made, secret, err := s.Create(context.Background(), s.tenant, w)
	require.NoError(t, err)
	require.Empty(t, secret)
	return made
}

func strict(w *subscribers.Webhook) { w.Ordering = subscribers.OrderingStrict }

// arrive logs n events and inserts their deliveries to the webhook as the fan-out does. It returns their ids in order.
func (s *tenantStore) arrive(t *testing.T, w *subscribers.Webhook, n int) []events.DeliveryID {
	t.Helper()
	ctx := context.Background()
	var ids []events.DeliveryID
	require.NoError(t, pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		b := &pgx.Batch{}
		var rows []subscribers.NewDelivery
		for range n {
			src, err := outbox.Log(ctx, tx, &events.Event{TenantID: s.tenant, Type: events.EmailReceived, Data: []byte(`{"html":"<b>&amp;</b>"}`)})
			if err != nil {
				return err
			}
			id := events.DeriveDeliveryID(src.ID, w.ID, events.ReplayID{}, src.CreatedAt)
			rows = append(rows, subscribers.NewDelivery{
				Ref: subscribers.Ref{ID: id, CreatedAt: src.CreatedAt}, WebhookID: w.ID, TenantID: s.tenant, EventID: src.ID, EventType: src.Type,
				Seq: max(src.Seq, -src.Seq), Strict: w.Ordering == subscribers.OrderingStrict, Due: true, Polled: true, MaxAttempts: w.Retry.Count(),
			})
			ids = append(ids, id)
		}
		subscribers.QueueInsert(b, rows)
		return tx.SendBatch(ctx, b).Close()
	}))
	return ids
}

func (s *tenantStore) poll(t *testing.T, w *subscribers.Webhook, r subscribers.PollRequest) []subscribers.Polled {
	t.Helper()
	list, err := s.Poll(context.Background(), nil, s.tenant, w.ID, r)
	require.NoError(t, err)
	return list
}

func deliveries(list []subscribers.Polled) []events.DeliveryID {
	ids := make([]events.DeliveryID, len(list))
	for i, p := range list {
		ids[i] = p.DeliveryID
	}
	return ids
}

func (s *tenantStore) ack(t *testing.T, w *subscribers.Webhook, r subscribers.AckRequest) subscribers.AckResult {
	t.Helper()
	got, err := s.Ack(context.Background(), s.tenant, w.ID, r)
	require.NoError(t, err)
	return got
}

// runOut ends every lease of the webhook.
func (s *tenantStore) runOut(t *testing.T, w *subscribers.Webhook) {
	t.Helper()
	s.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() - interval '1 ms' WHERE webhook_id = $1 AND status = 'pending'`, w.ID)
}

func TestAPolledDeliveryIsLeasedOnceAndEndsWhenItIsAcknowledged(t *testing.T) {
	t.Parallel()
	s := newTenantStore(t)
	w := s.pulled(t)
	ids := s.arrive(t, &w, 3)
	first := s.poll(t, &w, subscribers.PollRequest{Limit: 2, Lease: time.Minute})
	require.Equal(t, ids[:2], deliveries(first), "in the order of their events")
	rest := s.poll(t, &w, subscribers.PollRequest{})
	require.Equal(t, ids[2:], deliveries(rest), "those of the first poll are leased")
	require.Empty(t, s.poll(t, &w, subscribers.PollRequest{}))
	d, _, envelope, err := s.GetDelivery(context.Background(), s.tenant, ids[0])
	require.NoError(t, err)
	require.Equal(t, string(envelope), string(first[0].Envelope))
	require.Contains(t, string(envelope), "<b>&amp;</b>")
	require.Equal(t, d.EventID, first[0].EventID)
	require.Equal(t, 1, first[0].Attempt)
	require.Equal(t, *d.NextRetryAt, first[0].LeasedUntil)

	require.Equal(t, subscribers.AckResult{Delivered: 2}, s.ack(t, &w, subscribers.AckRequest{Delivered: ids[:2]}))
	require.Equal(t, subscribers.AckResult{Delivered: 1, Unchanged: 2}, s.ack(t, &w, subscribers.AckRequest{Delivered: ids}), "a call may be repeated")
	d, attempts, _, err := s.GetDelivery(context.Background(), s.tenant, ids[0])
	require.NoError(t, err)
	require.Equal(t, "delivered", d.Status)
	require.Equal(t, 1, d.Attempts)
	require.Len(t, attempts, 1)
	now, err := s.Get(context.Background(), s.tenant, w.ID)
	require.NoError(t, err)
	require.NotNil(t, now.LastDeliveredAt)
	require.NotNil(t, now.LastPolledAt)
}

func TestALeaseThatRunsOutIsNoAttemptAndALateAcknowledgementCounts(t *testing.T) {
	t.Parallel()
	s := newTenantStore(t)
	w := s.pulled(t)
	ids := s.arrive(t, &w, 2)
	require.Len(t, s.poll(t, &w, subscribers.PollRequest{}), 2)
	s.runOut(t, &w)
	require.Equal(t, subscribers.AckResult{Delivered: 1}, s.ack(t, &w, subscribers.AckRequest{Delivered: ids[:1]}), "it is pending still")
	again := s.poll(t, &w, subscribers.PollRequest{})
	require.Equal(t, ids[1:], deliveries(again))
	require.Equal(t, 1, again[0].Attempt)
	require.Equal(t, subscribers.AckResult{Released: 1, Due: true}, s.ack(t, &w, subscribers.AckRequest{Lease: again[0].Lease, Released: ids[1:]}))
	require.Equal(t, subscribers.AckResult{Unchanged: 1}, s.ack(t, &w, subscribers.AckRequest{Lease: again[0].Lease, Released: ids[1:]}), "it is not leased")
	require.Equal(t, ids[1:], deliveries(s.poll(t, &w, subscribers.PollRequest{})), "at once")
}

func TestAFailureCountsOnceAndFollowsTheWebhooksSchedule(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	hears := s.webhook(t)
	s.exec(t, `UPDATE fanmail.webhooks SET events = '{delivery.exhausted}' WHERE id = $1`, hears.ID)
	none := 0.0
	w := s.pulled(t, func(w *subscribers.Webhook) {
		w.Retry = &subscribers.Retry{Type: subscribers.RetryList, Delays: []time.Duration{time.Hour}, Jitter: &none}
	})
	id := s.arrive(t, &w, 1)[0]
	first := s.poll(t, &w, subscribers.PollRequest{})
	fails := subscribers.AckRequest{Lease: first[0].Lease, Failed: []subscribers.AckFailure{{DeliveryID: id, Reason: "the disk is full"}}}
	require.Equal(t, subscribers.AckResult{Failed: 1}, s.ack(t, &w, fails))
	require.Equal(t, subscribers.AckResult{Unchanged: 1}, s.ack(t, &w, fails), "the same call again")
	d, attempts, _, err := s.GetDelivery(ctx, s.tenant, id)
	require.NoError(t, err)
	require.Equal(t, "pending", d.Status)
	require.Equal(t, 1, d.Attempts)
	require.Equal(t, "the disk is full", d.LastError)
	require.Equal(t, time.Hour, d.NextRetryAt.Sub(*d.LastAttemptAt))
	require.Len(t, attempts, 1)
	require.Equal(t, "consumer", attempts[0].Reason)
	require.Empty(t, s.poll(t, &w, subscribers.PollRequest{}))
	s.runOut(t, &w)
	second := s.poll(t, &w, subscribers.PollRequest{})
	require.Equal(t, 2, second[0].Attempt)
	require.Equal(t, subscribers.AckResult{Failed: 1}, s.ack(t, &w, subscribers.AckRequest{Lease: second[0].Lease, Failed: []subscribers.AckFailure{{DeliveryID: id}}}))
	d, _, _, err = s.GetDelivery(ctx, s.tenant, id)
	require.NoError(t, err)
	require.Equal(t, "failed", d.Status, "its attempts are used up")
	require.Equal(t, subscribers.AckResult{Unchanged: 1}, s.ack(t, &w, subscribers.AckRequest{Delivered: []events.DeliveryID{id}}), "it is final")
	var facts int
	require.NoError(t, s.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.operational_events WHERE type = 'delivery.exhausted'`).Scan(&facts))
	require.Equal(t, 1, facts)

	_, err = s.Retry(ctx, s.tenant, id)
	require.NoError(t, err)
	require.Equal(t, 3, s.poll(t, &w, subscribers.PollRequest{})[0].Attempt)
	_, err = s.Retry(ctx, s.tenant, id)
	require.ErrorIs(t, err, subscribers.ErrInFlight)
}

func TestNobodyAcknowledgesAnotherWebhooksDeliveries(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w, other, push := s.pulled(t), s.pulled(t), s.webhook(t)
	mine, theirs := s.arrive(t, &w, 1), s.arrive(t, &other, 1)
	_, err := s.Ack(ctx, s.tenant, w.ID, subscribers.AckRequest{Delivered: append(slices.Clone(mine), theirs...)})
	require.ErrorIs(t, err, subscribers.ErrNotFound)
	require.Equal(t, 2, s.count(t, `status = 'pending'`), "nothing of the call takes effect")
	stranger := events.NewRandom[events.TenantKind]()
	s.exec(t, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'stranger')`, stranger)
	_, err = s.Ack(ctx, stranger, w.ID, subscribers.AckRequest{Delivered: mine})
	require.ErrorIs(t, err, subscribers.ErrNotFound)
	_, err = s.Poll(ctx, nil, stranger, w.ID, subscribers.PollRequest{})
	require.ErrorIs(t, err, subscribers.ErrNotFound)
	_, err = s.Poll(ctx, nil, s.tenant, push.ID, subscribers.PollRequest{})
	require.ErrorIs(t, err, subscribers.ErrPush)
	_, err = s.Ack(ctx, s.tenant, push.ID, subscribers.AckRequest{Delivered: mine})
	require.ErrorIs(t, err, subscribers.ErrPush)
	_, _, err = s.Rotate(ctx, s.tenant, w.ID, "")
	require.ErrorIs(t, err, subscribers.ErrPull)
	off := false
	_, err = s.Update(ctx, s.tenant, w.ID, subscribers.Patch{Enabled: &off})
	require.NoError(t, err)
	_, err = s.Poll(ctx, nil, s.tenant, w.ID, subscribers.PollRequest{})
	require.ErrorIs(t, err, subscribers.ErrDisabled)
	for says, r := range map[string]subscribers.AckRequest{
		"delivery_ids: has 0 deliveries":              {},
		"delivery_ids: has 101 deliveries":            {Delivered: make([]events.DeliveryID, 101)},
		"delivery_ids: names a delivery twice":        {Delivered: mine, Released: mine},
		"failed[0].reason: has 501 bytes":             {Lease: "a", Failed: []subscribers.AckFailure{{DeliveryID: mine[0], Reason: strings.Repeat("x", 501)}}},
		"failed[0].reason: holds a line break":        {Lease: "a", Failed: []subscribers.AckFailure{{DeliveryID: mine[0], Reason: "a\nb"}}},
		"lease: is required with failed and released": {Released: mine},
		"lease: is not that of a poll":                {Lease: "1.5", Released: mine},
	} {
		_, err = s.Ack(ctx, s.tenant, w.ID, r)
		require.ErrorContains(t, err, says)
	}
	for says, r := range map[string]subscribers.PollRequest{
		"limit: is 101; it must be from 1 to 100":     {Limit: 101},
		"wait: is 31 s; it must be from 0 to 30":      {Wait: 31 * time.Second},
		"lease: is 3601 s; it must be from 1 to 3600": {Lease: 3601 * time.Second},
	} {
		_, err = s.Poll(ctx, nil, s.tenant, w.ID, r)
		require.ErrorContains(t, err, says)
	}
}

func TestInStrictOrderNothingIsLeasedBehindADeliveryThatIsNotDone(t *testing.T) {
	t.Parallel()
	s := newTenantStore(t)
	w := s.pulled(t, strict)
	ids := s.arrive(t, &w, 6)
	first := s.poll(t, &w, subscribers.PollRequest{Limit: 3})
	require.Equal(t, ids[:3], deliveries(first))
	require.Empty(t, s.poll(t, &w, subscribers.PollRequest{}), "the first three are leased")
	require.Equal(t, subscribers.AckResult{Delivered: 2, Due: true}, s.ack(t, &w, subscribers.AckRequest{Delivered: ids[1:3]}))
	require.Empty(t, s.poll(t, &w, subscribers.PollRequest{}), "the first is leased")
	s.ack(t, &w, subscribers.AckRequest{Lease: first[0].Lease, Failed: []subscribers.AckFailure{{DeliveryID: ids[0]}}})
	require.Empty(t, s.poll(t, &w, subscribers.PollRequest{}), "the first waits for its next attempt")
	s.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE id = $1`, ids[0])
	second := s.poll(t, &w, subscribers.PollRequest{Limit: 3})
	require.Equal(t, []events.DeliveryID{ids[0], ids[3], ids[4]}, deliveries(second))
	s.ack(t, &w, subscribers.AckRequest{Delivered: []events.DeliveryID{ids[0], ids[3]}, Lease: second[0].Lease, Released: ids[4:5]})
	require.Equal(t, ids[4:], deliveries(s.poll(t, &w, subscribers.PollRequest{})))
}

func TestALateConsumerTakesNoDeliveryFromTheOneThatHasItNow(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*subscribers.Webhook){"none": func(*subscribers.Webhook) {}, "strict": strict} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTenantStore(t)
			w := s.pulled(t, change)
			ids := s.arrive(t, &w, 3)
			late := s.poll(t, &w, subscribers.PollRequest{Lease: time.Second})
			require.Equal(t, ids, deliveries(late))
			require.Eventually(t, func() bool { return s.count(t, `next_retry_at <= now()`) == 3 }, time.Minute, 10*time.Millisecond, "the lease runs out")
			require.Equal(t, subscribers.AckResult{Failed: 1}, s.ack(t, &w, subscribers.AckRequest{
				Lease: late[0].Lease, Failed: []subscribers.AckFailure{{DeliveryID: ids[0]}},
			}), "nobody else has it")
			s.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE id = $1`, ids[0])
			now := s.poll(t, &w, subscribers.PollRequest{Lease: time.Minute})
			require.ElementsMatch(t, ids, deliveries(now))
			require.NotEqual(t, late[0].Lease, now[0].Lease)

			require.Equal(t, subscribers.AckResult{Unchanged: 3}, s.ack(t, &w, subscribers.AckRequest{Lease: late[0].Lease, Released: ids}))
			require.Equal(t, subscribers.AckResult{Unchanged: 2}, s.ack(t, &w, subscribers.AckRequest{
				Lease: late[0].Lease, Failed: []subscribers.AckFailure{{DeliveryID: ids[1]}, {DeliveryID: ids[2]}},
			}))
			require.Empty(t, s.poll(t, &w, subscribers.PollRequest{}), "all three are in one hand")
			require.Equal(t, 2, s.count(t, `attempts = 0`))

			done := subscribers.AckRequest{Delivered: ids[1:2], Lease: late[0].Lease}
			require.Equal(t, 1, s.ack(t, &w, done).Delivered, "it was handled, whoever says so")
			got := s.ack(t, &w, subscribers.AckRequest{Lease: now[0].Lease, Released: ids[:1], Failed: []subscribers.AckFailure{{DeliveryID: ids[2]}}})
			require.Equal(t, subscribers.AckResult{Released: 1, Failed: 1, Due: true}, got)
		})
	}
}

// consumption is what concurrent consumers hold and have done.
type consumption struct {
	mu    sync.Mutex
	held  map[events.DeliveryID]bool
	order []events.DeliveryID
	twice []events.DeliveryID
}

func (c *consumption) take(list []subscribers.Polled) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range list {
		if c.held[p.DeliveryID] {
			c.twice = append(c.twice, p.DeliveryID)
		}
		c.held[p.DeliveryID] = true
	}
}

func (c *consumption) done(list []subscribers.Polled) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.order = append(c.order, deliveries(list)...)
	return len(c.order)
}

func TestConcurrentConsumersNeverHoldTheSameDelivery(t *testing.T) {
	t.Parallel()
	const n, consumers = 600, 8
	for name, change := range map[string]func(*subscribers.Webhook){"none": func(*subscribers.Webhook) {}, "strict": strict} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nc, _ := natstest.Connect(t)
			s := newTenantStore(t)
			w := s.pulled(t, change)
			ids := s.arrive(t, &w, n)
			c := &consumption{held: map[events.DeliveryID]bool{}}
			ctx, stop := context.WithTimeout(context.Background(), 2*time.Minute)
			defer stop()
			var group sync.WaitGroup
			faults := make(chan error, consumers)
			for range consumers {
				group.Go(func() {
					for ctx.Err() == nil {
						list, err := s.Poll(ctx, nc, s.tenant, w.ID, subscribers.PollRequest{Limit: 7, Wait: 30 * time.Second, Stop: ctx.Done()})
						if err != nil || len(list) == 0 {
							faults <- err
							return
						}
						c.take(list)
						total := c.done(list)
						r, err := s.Ack(t.Context(), s.tenant, w.ID, subscribers.AckRequest{Delivered: deliveries(list)}) // also after stop
						if err == nil && r.Delivered != len(list) {
							err = fmt.Errorf("%d of %d acknowledged", r.Delivered, len(list))
						}
						if err != nil {
							faults <- err
							return
						}
						if r.Due {
							subscribers.WakePolls(nc, w.ID)
						}
						if total == n {
							stop()
						}
					}
				})
			}
			group.Wait()
			close(faults)
			for err := range faults {
				if err != nil {
					require.ErrorIs(t, err, context.Canceled)
				}
			}
			require.Empty(t, c.twice)
			require.Equal(t, n, s.count(t, `status = 'delivered' AND attempts = 1`))
			if name == "strict" {
				require.Equal(t, ids, c.order, "in commit order")
			}
		})
	}
}

func TestAWaitEndsWithAHintWithADueDeliveryAndWhenItIsStopped(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	s := newTenantStore(t)
	w := s.pulled(t)
	type answer struct {
		list []subscribers.Polled
		err  error
	}
	wait := func(stop <-chan struct{}) <-chan answer {
		out := make(chan answer, 1)
		before := nc.NumSubscriptions()
		go func() {
			list, err := s.Poll(context.Background(), nc, s.tenant, w.ID, subscribers.PollRequest{Wait: 30 * time.Second, Stop: stop})
			out <- answer{list, err}
		}()
		require.Eventually(t, func() bool { return nc.NumSubscriptions() > before }, 20*time.Second, time.Millisecond)
		return out
	}
	waits := wait(nil)
	ids := s.arrive(t, &w, 1)
	subscribers.WakePolls(nc, w.ID)
	got := <-waits
	require.NoError(t, got.err)
	require.Equal(t, ids, deliveries(got.list))

	s.exec(t, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() + interval '300 ms'`)
	got = <-wait(nil) // the lease runs out, of which nobody gives a hint
	require.NoError(t, got.err)
	require.Equal(t, ids, deliveries(got.list))

	stop := make(chan struct{})
	waits = wait(stop)
	close(stop)
	got = <-waits
	require.NoError(t, got.err)
	require.Empty(t, got.list)
	require.Empty(t, s.poll(t, &w, subscribers.PollRequest{Wait: time.Millisecond}), "the wait is over")
}

func TestAPollIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	w := s.pulled(t)
	ids := s.arrive(t, &w, 20)
	s.exec(t, `UPDATE fanmail.events SET envelope = convert_to('{"data":"' || repeat('x', 300000) || '"}', 'UTF8')`)
	first := s.poll(t, &w, subscribers.PollRequest{})
	require.Len(t, first, 13, "4 MiB")
	require.Equal(t, ids[:13], deliveries(first))
	require.Equal(t, ids[13:], deliveries(s.poll(t, &w, subscribers.PollRequest{})), "the others stay due")
	s.runOut(t, &w)
	s.exec(t, `DELETE FROM fanmail.events`)
	list, err := s.Poll(ctx, nil, s.tenant, w.ID, subscribers.PollRequest{})
	require.NoError(t, err)
	require.Empty(t, list)
	require.Equal(t, 20, s.count(t, `status = 'failed' AND attempts = 0 AND last_error = 'the event is past its retention'`))
}

func TestSettingsOfPostsAreRefusedForKindPull(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := newTenantStore(t)
	one, yes := 1, true
	for field, change := range map[string]struct {
		create func(*subscribers.Webhook)
		patch  subscribers.Patch
	}{
		"url":            {create: func(w *subscribers.Webhook) { w.URL = "https://example.com/" }, patch: subscribers.Patch{URL: new("https://example.com/")}},
		"headers":        {create: func(w *subscribers.Webhook) { w.Headers = map[string]string{"X": "y"} }, patch: subscribers.Patch{Headers: &map[string]string{"X": "y"}}},
		"auth":           {create: func(w *subscribers.Webhook) { w.Auth = &subscribers.Auth{Type: subscribers.AuthBasic} }, patch: subscribers.Patch{Auth: &subscribers.Auth{Type: subscribers.AuthBasic}}},
		"ca":             {create: func(w *subscribers.Webhook) { w.CA = "x" }, patch: subscribers.Patch{CA: new("x")}},
		"timeout":        {create: func(w *subscribers.Webhook) { w.Timeout = time.Second }, patch: subscribers.Patch{Timeout: new(time.Second)}},
		"max_in_flight":  {create: func(w *subscribers.Webhook) { w.MaxInFlight = 1 }, patch: subscribers.Patch{MaxInFlight: &one}},
		"rate_limit":     {create: func(w *subscribers.Webhook) { w.RateLimit = 1 }, patch: subscribers.Patch{RateLimit: &one}},
		"ed25519":        {create: func(w *subscribers.Webhook) { w.Ed25519 = true }, patch: subscribers.Patch{Ed25519: &yes}},
		"envelope":       {create: func(w *subscribers.Webhook) { w.Envelope = subscribers.EnvelopeV04 }, patch: subscribers.Patch{Envelope: new(subscribers.EnvelopeV04)}},
		"paused":         {create: func(w *subscribers.Webhook) { w.Paused = true }, patch: subscribers.Patch{Paused: &yes}},
		"signing_secret": {create: func(w *subscribers.Webhook) { w.SigningSecret = strings.Repeat("s", 20) }},
		"kind":           {create: func(w *subscribers.Webhook) { w.Kind = "pulp" }, patch: subscribers.Patch{Kind: new(subscribers.KindPush)}},
		"retry.final": {create: func(w *subscribers.Webhook) {
			w.Retry = &subscribers.Retry{Type: subscribers.RetryList, Final: []int{400}}
		}, patch: subscribers.Patch{Retry: &subscribers.Retry{Type: subscribers.RetryList, Final: []int{400}}}},
	} {
		w := subscribers.Webhook{Kind: subscribers.KindPull, Events: []events.Type{events.EmailReceived}, Enabled: true}
		change.create(&w)
		_, _, err := s.Create(ctx, s.tenant, w)
		var fault *events.FieldError
		require.ErrorAs(t, err, &fault, field)
		require.Equal(t, field, fault.Field)
		if field == "signing_secret" {
			continue
		}
		made := s.pulled(t)
		_, err = s.Update(ctx, s.tenant, made.ID, change.patch)
		require.ErrorAs(t, err, &fault, field)
		require.Equal(t, field, fault.Field)
	}
	_, _, err := s.Create(ctx, s.tenant, subscribers.Webhook{Events: []events.Type{events.EmailReceived}})
	require.ErrorContains(t, err, "url: is required")
	push := s.webhook(t)
	_, err = s.Update(ctx, s.tenant, push.ID, subscribers.Patch{Kind: new(subscribers.KindPull)})
	require.ErrorContains(t, err, "kind: can't be changed")
	pull := s.pulled(t)
	pull, err = s.Update(ctx, s.tenant, pull.ID, subscribers.Patch{Kind: new(subscribers.KindPull), Description: new("x"), Ordering: new(subscribers.OrderingStrict), Headers: &map[string]string{}, Auth: &subscribers.Auth{}})
	require.NoError(t, err, "what holds already, and what is cleared")
	require.Equal(t, "x", pull.Description)
}

func TestAPulledWebhookThatOnlyFailsIsNotDisabled(t *testing.T) {
	t.Parallel()
	s := newTenantStore(t)
	w := s.pulled(t)
	s.exec(t, `UPDATE fanmail.webhooks SET enabled_at = now() - interval '30 days'`)
	s.failed(t, w.ID, 12, 1)
	require.Empty(t, s.disable(t))
	s.arrive(t, &w, 3)
	late, err := subscribers.FindLate(context.Background(), s.pool, 10)
	require.NoError(t, err)
	require.Empty(t, late, "nobody is late: its consumer takes its time")
}
