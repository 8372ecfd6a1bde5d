package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// TestNothingIsLostWhenEveryProcessIsKilled tests the first promise: what SMTP has answered 250
// arrives at every matching webhook.
func TestNothingIsLostWhenEveryProcessIsKilled(t *testing.T) {
	t.Parallel()
	// Recovery waits for leases of half a minute, on a machine that may be busy.
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Minute, errors.New("the crash test took too long"))
	t.Cleanup(cancel)
	r, s := newRig(ctx, t), sink.New(t)
	key := settle(ctx, r, s)
	for n := range webhooks {
		// Slow enough that a kill finds POSTs in flight.
		s.Script(webhookPath(n), sink.Always(sink.Answer{Delay: 5 * time.Millisecond}))
	}

	crashes := map[int]func(){
		300: func() { r.crash(ctx, "publisher", nil) },
		600: func() {
			require.NoError(t, s.WaitFor(ctx, 500)) // in the middle of its work
			r.crash(ctx, "dispatcher", nil)
		},
		900: func() { r.crash(ctx, "ingest", nil) },
		1200: func() {
			r.crash(ctx, "nats", func() { require.NoError(t, os.RemoveAll(r.natsDir)) })
		},
		1500: func() { r.crash(ctx, "api", nil) },
	}
	senders := sendAll(ctx, r.smtp, 8)
	t.Cleanup(senders.done.Wait)
	t.Cleanup(cancel)
	finished := make(chan struct{})
	go func() {
		senders.done.Wait()
		close(finished)
	}()
	for n, accepted := 0, senders.accepted; n < mails; {
		select {
		case <-accepted:
			n++
			if crash := crashes[n]; crash != nil {
				crash()
			}
		case <-finished:
			if err := senders.failed.Load(); err != nil {
				require.NoError(t, *err)
			}
		}
	}

	arrived := arrivals{t: t, want: expected(), seen: map[delivery]sink.Post{}}
	err := s.Wait(ctx, func() bool { return arrived.all(s) })
	require.NoError(t, err, "%d of %d deliveries arrived", len(arrived.seen), len(arrived.want))

	outbox := `SELECT count(*) FROM fanmail.outbox`
	open := `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status <> 'delivered'`
	require.Eventually(t, func() bool { return r.count(ctx, outbox) == 0 && r.count(ctx, open) == 0 }, 3*time.Minute, 100*time.Millisecond,
		"the last outcomes are written")
	require.Equal(t, mails, r.count(ctx, `SELECT count(*) FROM fanmail.events`), "mail sent again is one event")
	require.Equal(t, len(arrived.want), r.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE finished_at IS NOT NULL AND next_retry_at IS NULL`))

	var listed struct{ Data []struct{ ID string } }
	r.call(ctx, key, http.MethodGet, "/v1/webhooks?limit=100", nil, &listed)
	require.Len(t, listed.Data, webhooks)
	r.stop(ctx)
	arrived.all(s) // what arrived after the last missing one
	t.Logf("%d mails, %d SMTP retries, %d deliveries, %d of them sent more than once, %d POSTs in all",
		mails, senders.retries.Load(), len(arrived.seen), arrived.twice, arrived.read)
}

// arrivals sorts the sink's record into deliveries.
type arrivals struct {
	t     testing.TB
	want  map[delivery]bool
	seen  map[delivery]sink.Post // its first POST
	read  int                    // how much of the record was read
	twice int                    // POSTs beyond a delivery's first
}

// all reads what is new in the record and reports whether nothing is missing.
func (a *arrivals) all(s *sink.Sink) bool {
	for _, p := range s.Posts(a.read) {
		a.read++
		a.add(p)
	}
	return len(a.seen) == len(a.want)
}

func (a *arrivals) add(p sink.Post) {
	env, err := events.DecodeEnvelope(p.Body)
	if err != nil || p.VerifyErr != nil || env.ID.String() != p.EventID {
		a.t.Errorf("POST to %s: envelope %v, signatures %v, ids %s and %s", p.Path, err, p.VerifyErr, env.ID, p.EventID)
		return
	}
	var data struct{ Subject string }
	if err := json.Unmarshal(env.Data, &data); err != nil {
		a.t.Errorf("POST to %s: %v", p.Path, err)
	}
	d := delivery{data.Subject, p.Path}
	if !a.want[d] {
		a.t.Errorf("%s doesn't want %q", d.path, d.subject)
		return
	}
	first, again := a.seen[d]
	if !again {
		a.seen[d] = p
		return
	}
	a.twice++
	if first.EventID != p.EventID || first.DeliveryID != p.DeliveryID || !bytes.Equal(first.Body, p.Body) {
		a.t.Errorf("%s was sent %q as %s/%s and again as %s/%s", d.path, d.subject, first.EventID, first.DeliveryID, p.EventID, p.DeliveryID)
	}
}
