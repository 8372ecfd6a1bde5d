package activity

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
)

// timed is a recorder with a clock that the test sets.
func timed() (*Recorder, *time.Time) {
	now := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	return newRecorder(func() time.Time { return now }), &now
}

func TestRatesAreMeansOfTheLastMinute(t *testing.T) {
	t.Parallel()
	r, now := timed()
	tenant, hook := events.NewRandom[events.TenantKind](), events.NewRandom[events.WebhookKind]()
	for range 450 { // two a second, of which one in four fails
		for i := range 4 {
			r.Event(tenant, "a@example.com", 100)
			r.Began(tenant, hook, "")
			outcome := Delivered
			if i == 0 {
				outcome = Unanswered
			}
			r.Ended(tenant, hook, "", outcome, 50)
		}
		*now = now.Add(2 * time.Second)
	}
	for _, by := range []string{ByTenant, ByWebhook} {
		rows := r.Top(Request{By: by, Order: OrderRate, Window: "1m", Limit: 5})
		require.Len(t, rows, 1, by)
		require.InDelta(t, 2, rows[0].Attempts, 0.1)
		require.InDelta(t, 0.5, rows[0].Failures, 0.1)
		require.InDelta(t, 100, rows[0].Bytes, 5)
		require.Equal(t, tenant.String(), rows[0].Tenant)
		require.Zero(t, rows[0].InFlight)
	}
	rows := r.Top(Request{By: ByAgent, Order: OrderBytes, Window: "5m", Limit: 5})
	require.Len(t, rows, 1)
	require.Equal(t, "a@example.com", rows[0].Name)
	require.InDelta(t, 200, rows[0].Bytes, 5)
	lately, seconds := r.Lately()
	require.InDelta(t, 2, float64(lately.Attempts)/seconds, 0.2)
	require.Equal(t, lately.Failures, lately.Unanswered)
	require.Len(t, r.Minutes(), 15)

	*now = now.Add(10 * time.Minute)
	require.Empty(t, r.Top(Request{By: ByTenant, Order: OrderRate, Window: "1m", Limit: 5}))
	require.Empty(t, r.tenants.lines, "who does nothing is forgotten")
	require.Nil(t, r.Top(Request{By: "x", Window: "1m"}))
	require.Nil(t, r.Top(Request{By: ByTenant, Window: "1y"}))
}

// TestTheMostActiveStayAmongManyThousands: the table is bounded, and those who are forgotten are not the active ones.
func TestTheMostActiveStayAmongManyThousands(t *testing.T) {
	t.Parallel()
	r, now := timed()
	heavy, failing := events.NewRandom[events.WebhookKind](), events.NewRandom[events.WebhookKind]()
	held, tenant := events.NewRandom[events.WebhookKind](), events.NewRandom[events.TenantKind]()
	r.Began(tenant, held, "")
	attempt := func(w events.WebhookID, o Outcome) {
		r.Began(tenant, w, "")
		r.Ended(tenant, w, "", o, 1)
	}
	for i := range 4 * tableSize {
		attempt(events.NewRandom[events.WebhookKind](), Delivered)
		if i%100 == 0 {
			attempt(heavy, Delivered)
		}
		if i%400 == 0 {
			attempt(failing, Refused)
		}
		*now = now.Add(time.Millisecond)
	}
	require.LessOrEqual(t, len(r.webhooks.lines), tableSize+1)
	require.Equal(t, heavy.String(), r.Top(Request{By: ByWebhook, Order: OrderRate, Window: "5m", Limit: 1})[0].Name)
	require.Equal(t, failing.String(), r.Top(Request{By: ByWebhook, Order: OrderFailures, Window: "5m", Limit: 1})[0].Name)
	require.Equal(t, held.String(), r.Top(Request{By: ByWebhook, Order: OrderSlots, Window: "5m", Limit: 1})[0].Name)
	require.Len(t, r.Top(Request{By: ByWebhook, Order: OrderRate, Window: "5m", Limit: 1 << 30}), MostRows)
}

func TestAnswersAddUp(t *testing.T) {
	t.Parallel()
	q := Request{By: ByTenant, Order: OrderRate, Window: "1m", Limit: 2}
	row := func(name string, rate float64) Row {
		return Row{Name: name, Tenant: name, Rates: Rates{Attempts: rate}, InFlight: 1}
	}
	a := Answer{
		Rows: []Row{row("both", 5), row("one", 8)}, Seconds: 60, Lately: Minute{At: 10, Count: Count{Attempts: 60}},
		Minutes: []Minute{{At: 60, Count: Count{Events: 1}}}, Holding: Holding{InFlight: 1, OldestDueMS: 5, Late: []Lane{{Webhook: "b", Due: 2}}},
	}
	b := Answer{
		Rows: []Row{row("both", 5), row("other", 1)}, Seconds: 60, Lately: Minute{At: 20, Count: Count{Attempts: 60}},
		Minutes: []Minute{{At: 60, Count: Count{Events: 2}}, {At: 120}}, Holding: Holding{InFlight: 2, OldestDueMS: 9, Late: []Lane{{Webhook: "a", Due: 1}}},
	}
	m := Merge([]Answer{a, b}, q)
	require.Equal(t, []Row{{Name: "both", Tenant: "both", Rates: Rates{Attempts: 10}, InFlight: 2}, row("one", 8)}, m.Rows)
	require.InDelta(t, 2, m.Rates.Attempts, 1e-9)
	require.Equal(t, 3, m.Holding.InFlight)
	require.EqualValues(t, 9, m.Holding.OldestDueMS)
	require.Equal(t, []Lane{{Webhook: "a", Due: 1}, {Webhook: "b", Due: 2}}, m.Holding.Late)
	require.Len(t, m.Minutes, 2)
	require.EqualValues(t, 3, m.Minutes[0].Events)
	require.Empty(t, Merge(nil, q).Rows)
}

func TestLagsAreInterpolated(t *testing.T) {
	t.Parallel()
	var l Lags
	_, ok := l.Quantile(0.5)
	require.False(t, ok)
	for i := range 100 {
		l.observe(time.Duration(i) * time.Millisecond)
	}
	l.observe(time.Hour)
	for _, c := range []struct {
		part     float64
		from, to time.Duration
	}{{0.01, 0, 2 * time.Millisecond}, {0.5, 32 * time.Millisecond, 64 * time.Millisecond}, {0.95, 64 * time.Millisecond, 128 * time.Millisecond}, {1, 4 * time.Minute, 10 * time.Minute}} {
		d, ok := l.Quantile(c.part)
		require.True(t, ok)
		require.True(t, d >= c.from && d <= c.to, "%v: %v", c.part, d)
	}
}

// TestMessagesOfStrangersAreRefused: whoever is in the account may send them.
func TestMessagesOfStrangersAreRefused(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "x", "[]", `{"limit":"x"}`, `{"by":{}}`} {
		_, err := DecodeRequest([]byte(body))
		require.Error(t, err, body)
	}
	_, err := DecodeAnswer(fmt.Appendf(nil, `{"name":%q}`, make([]byte, MostAnswerBytes)))
	require.ErrorContains(t, err, "too large")
}
