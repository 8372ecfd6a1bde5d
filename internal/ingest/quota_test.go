package ingest_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func limited(t testing.TB, pool *pgxpool.Pool, q tenancy.Quota, agents ...string) events.TenantID {
	t.Helper()
	id := tenant(t, pool, agents...)
	require.NoError(t, tenancy.SetQuota(context.Background(), pool, id, q))
	return id
}

// uses requires that the tenant has used that much of its day.
func uses(t testing.TB, c *usage.Counter, of events.TenantID, evs, bytes int) {
	t.Helper()
	got, err := c.Today(context.Background(), of)
	require.NoError(t, err)
	require.Equal(t, usage.Amount{Events: int64(evs), Bytes: int64(bytes)}, got)
}

// letter is a mail that is like no other. With the line end that DATA adds it has that many bytes.
func letter(n, size int) string {
	head := fmt.Sprintf("From: x@example.org\r\nMessage-ID: <%d@example.org>\r\nSubject: hello\r\n\r\n", n)
	return head + strings.Repeat("x", size-len(head)-2)
}

func TestMailAboveAQuotaIsRefusedForItsTenantAlone(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	few := limited(t, pool, tenancy.Quota{EventsPerDay: 2}, "few@example.com", "more@example.com")
	small := limited(t, pool, tenancy.Quota{BytesPerDay: 1000}, "small@example.com")
	free := tenant(t, pool, "free@example.com")
	reg, counter := prometheus.NewPedanticRegistry(), usage.New(pool, nil)
	w := hello(t, serve(t, pool, ingest.Options{Usage: counter, Registerer: reg}))

	w.begin("few@example.com")
	w.data(250, letter(1, 300))
	w.begin("few@example.com")
	w.data(250, letter(1, 300)) // the same mail is no second event
	uses(t, counter, few, 1, 300)
	w.begin("few@example.com", "more@example.com")
	require.Contains(t, w.data(452, letter(2, 300)), "quota events_per_day is used up", "two events do not fit")
	uses(t, counter, few, 1, 300)
	w.begin("few@example.com")
	w.data(250, letter(3, 300))

	// The recipients of others get the mail.
	w.begin("free@example.com")
	require.Equal(t, "4.2.2 The recipient's quota events_per_day is used up, try again after 00:00 UTC", w.say(452, "RCPT TO:<few@example.com>"))
	w.data(250, letter(4, 300))
	uses(t, counter, few, 2, 600)
	uses(t, counter, free, 1, 300)

	// A mail that is too large for the day is refused where its size is known.
	w.begin("small@example.com")
	require.Contains(t, w.data(452, letter(5, 1001)), "quota bytes_per_day")
	w.say(250, "MAIL FROM:<sender@example.org> SIZE=1001")
	require.Contains(t, w.say(452, "RCPT TO:<small@example.com>"), "quota bytes_per_day")
	w.say(250, "RCPT TO:<free@example.com>")
	w.data(250, letter(5, 1001))
	// One reply is for all: a mail that another tenant may have is taken for both, and counted.
	w.begin("small@example.com", "free@example.com")
	w.data(250, letter(6, 1001))
	uses(t, counter, small, 1, 1001)
	uses(t, counter, free, 3, 2302)
	w.say(250, "MAIL FROM:<sender@example.org>")
	require.Contains(t, w.say(452, "RCPT TO:<small@example.com>"), "quota bytes_per_day")
	require.Len(t, mails(t, pool), 6)
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP fanmail_ingest_over_quota_total Mails and messages above a tenant's quota of the day, by way in: smtp and intake refuse them, raw counts them only.
# TYPE fanmail_ingest_over_quota_total counter
fanmail_ingest_over_quota_total{door="intake",quota="bytes_per_day"} 0
fanmail_ingest_over_quota_total{door="intake",quota="events_per_day"} 0
fanmail_ingest_over_quota_total{door="raw",quota="bytes_per_day"} 0
fanmail_ingest_over_quota_total{door="raw",quota="events_per_day"} 0
fanmail_ingest_over_quota_total{door="smtp",quota="bytes_per_day"} 4
fanmail_ingest_over_quota_total{door="smtp",quota="events_per_day"} 2
`), "fanmail_ingest_over_quota_total"))

	// The operator raises the quota: the next exchange knows.
	require.NoError(t, tenancy.SetQuota(t.Context(), pool, few, tenancy.Quota{}))
	w.say(250, "RSET")
	require.Eventually(t, func() bool {
		w.say(250, "MAIL FROM:<sender@example.org>")
		defer w.say(250, "RSET")
		w.send("RCPT TO:<few@example.com>\r\n")
		code, _, _ := w.r.ReadResponse(250)
		return code == 250
	}, patience, patience/100)
}

func TestSessionsAtOnceKeepAQuota(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	few := limited(t, pool, tenancy.Quota{EventsPerDay: 5}, "few@example.com")
	counter := usage.New(pool, nil)
	s := serve(t, pool, ingest.Options{Usage: counter})
	var all sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	sessions := make([]*wire, 12)
	for n := range sessions {
		sessions[n] = hello(t, s)
		sessions[n].begin("few@example.com")
	}
	for n, w := range sessions {
		all.Go(func() {
			w.send("DATA\r\n")
			if _, _, err := w.r.ReadResponse(354); err != nil {
				t.Error(err)
				return
			}
			w.send(letter(n, 300) + "\r\n.\r\n")
			code, _, _ := w.r.ReadResponse(250)
			mu.Lock()
			defer mu.Unlock()
			codes[code]++
		})
	}
	all.Wait()
	require.Equal(t, map[int]int{250: 5, 452: 7}, codes)
	uses(t, counter, few, 5, 1500)
	require.Len(t, mails(t, pool), 5)
}

func TestIntakeMessagesAboveAQuotaAreDeadLettersAndDelayNobody(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	few, small, free := limited(t, pool, tenancy.Quota{EventsPerDay: 2}), limited(t, pool, tenancy.Quota{BytesPerDay: 100}), tenant(t, pool)
	body := `{"type":"email.sent","data":{"n":1}}`
	large := `{"type":"email.sent","data":{"n":"` + strings.Repeat("x", 100) + `"}}`
	publish(t, js, events.IntakePrefix+few.String(), body, jetstream.MsgIDHeader, "one")
	for range 4 {
		publish(t, js, events.IntakePrefix+few.String(), body)
		publish(t, js, events.IntakePrefix+free.String(), body)
	}
	publish(t, js, events.IntakePrefix+small.String(), large)
	publish(t, js, events.IntakePrefix+small.String(), body)
	publish(t, js, events.IntakePrefix+events.NewRandom[events.TenantKind]().String(), body)
	reg, counter := prometheus.NewPedanticRegistry(), usage.New(pool, nil)
	in := ingest.NewIntake(pool, js, nil, ingest.IntakeOptions{Usage: counter, Registerer: reg})
	running(t, in.Run)
	settled(t, js)
	uses(t, counter, few, 2, 2*len(body))
	uses(t, counter, free, 4, 4*len(body))
	uses(t, counter, small, 1, len(body))
	evs, _, _, _ := counts(t, pool)
	require.Equal(t, 7, evs)
	dead, err := js.OrderedConsumer(t.Context(), stream.Dead, jetstream.OrderedConsumerConfig{FilterSubjects: []string{
		events.DeadIntakePrefix + few.String(), events.DeadIntakePrefix + small.String(),
	}})
	require.NoError(t, err)
	reasons := map[string]int{}
	for range 4 {
		m, err := dead.Next(jetstream.FetchMaxWait(patience))
		require.NoError(t, err)
		reasons[m.Headers().Get(stream.HeaderReason)]++
	}
	require.Equal(t, map[string]int{
		"quota events_per_day: this tenant may create 2 events on a UTC day, which are used up; the operator can change it":         3,
		"quota bytes_per_day: this tenant may send 100 bytes of events on a UTC day, which are used up; the operator can change it": 1,
	}, reasons)
	require.EqualValues(t, 5, metric(t, reg, "fanmail_intake_dead_total"))
}

// The broker delivers again what was committed and not acknowledged. A producer may repeat a message too.
func TestAnEventThatExistsIsNoDeadLetterAboveAQuota(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	few := limited(t, pool, tenancy.Quota{EventsPerDay: 1})
	reg, counter := prometheus.NewPedanticRegistry(), usage.New(pool, nil)
	in := ingest.NewIntake(pool, js, nil, ingest.IntakeOptions{Usage: counter, Registerer: reg})
	running(t, in.Run)
	known := `{"type":"email.sent","idempotency_key":"known","data":{"n":1}}`
	publish(t, js, events.IntakePrefix+few.String(), known)
	settled(t, js)
	publish(t, js, events.IntakePrefix+few.String(), `{"type":"email.sent","idempotency_key":"new","data":{"n":2}}`)
	publish(t, js, events.IntakePrefix+few.String(), known)
	settled(t, js)
	evs, _, _, _ := counts(t, pool)
	require.Equal(t, 1, evs)
	uses(t, counter, few, 1, len(known))
	require.EqualValues(t, 1, metric(t, reg, "fanmail_intake_duplicates_total"))
	require.EqualValues(t, 1, metric(t, reg, "fanmail_intake_dead_total"), "the new one alone")
}

// The edge has answered with 250, so the mail must come in.
func TestMailThatAnEdgeAcceptedIsCountedAndNeverRefused(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, js := natstest.Connect(t)
	few := limited(t, pool, tenancy.Quota{EventsPerDay: 1, BytesPerDay: 10}, "few@example.com")
	free := tenant(t, pool, "free@example.com")
	counter := usage.New(pool, nil)
	takingRaw(t, pool, js, ingest.Options{Usage: counter})
	w := hello(t, publishing(t, js, nil))
	for n := range 3 {
		w.begin("few@example.com", "free@example.com")
		w.data(250, letter(n, 300))
	}
	eventually(t, pool, 6)
	emptied(t, js)
	uses(t, counter, few, 3, 900)
	uses(t, counter, free, 3, 900)
}
