package subscribers_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// leaver ends the context of a call just before a statement with a text is sent, or just after it was answered.
type leaver struct {
	text  string
	after bool
	leave context.CancelFunc
}

func (l *leaver) at(sql string, after bool) {
	if l.after == after && strings.Contains(sql, l.text) {
		l.leave()
	}
}

type sentKey struct{}

func (l *leaver) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	l.at(data.SQL, false)
	return context.WithValue(ctx, sentKey{}, data.SQL)
}

func (l *leaver) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryEndData) {
	if sql, ok := ctx.Value(sentKey{}).(string); ok {
		l.at(sql, true)
	}
}

func (l *leaver) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	for _, q := range data.Batch.QueuedQueries {
		l.at(q.SQL, false)
	}
	return ctx
}

func (l *leaver) TraceBatchQuery(_ context.Context, _ *pgx.Conn, data pgx.TraceBatchQueryData) {
	l.at(data.SQL, true)
}
func (*leaver) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

// leaving returns a pool on the store's database, and a context that ends at a statement.
func (s *tenantStore) leaving(t *testing.T, text string, after bool) (context.Context, *pgxpool.Pool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	cfg, err := pg.Parse(secret.Text(s.pool.Config().ConnString()))
	require.NoError(t, err)
	cfg.ConnConfig.Tracer = &leaver{text: text, after: after, leave: cancel}
	pg.Configure(cfg)
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return ctx, pool
}

const readsEnvelopes = "SELECT id, envelope, traceparent FROM fanmail.events"

func TestWhatAPollLeasedForAConsumerThatIsGoneCanBePolledAtOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text  string
		after bool
	}{
		"while the leases are taken":   {"UPDATE fanmail.webhook_subscriber_deliveries AS d SET next_retry_at", true},
		"before the envelopes":         {readsEnvelopes, false},
		"once the envelopes were read": {readsEnvelopes, true},
	} {
		for ordering, change := range map[string]func(*subscribers.Webhook){"in any order": func(*subscribers.Webhook) {}, "in strict order": strict} {
			t.Run(name+", "+ordering, func(t *testing.T) {
				t.Parallel()
				s := newTenantStore(t)
				w := s.pulled(t, change)
				ids := s.arrive(t, &w, 3)
				ctx, pool := s.leaving(t, c.text, c.after)
				_, err := subscribers.NewStore(pool, subscribers.Limits{}).Poll(ctx, nil, s.tenant, w.ID, subscribers.PollRequest{Lease: subscribers.MaxPollLease})
				require.ErrorIs(t, err, context.Canceled)
				got := s.poll(t, &w, subscribers.PollRequest{})
				require.Equal(t, ids, deliveries(got))
				require.False(t, got[0].PolledBefore, "no lease ran out")
			})
		}
	}
}

func TestWhatAFetchThatFailsHasLeasedIsDueAtOnce(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"at the webhooks in strict order": "ORDER BY seq, created_at LIMIT 1",
		"at the envelopes":                readsEnvelopes,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTenantStore(t)
			plain, ordered := s.webhook(t), s.webhook(t)
			on := subscribers.OrderingStrict
			ordered, err := s.Update(t.Context(), s.tenant, ordered.ID, subscribers.Patch{Ordering: &on})
			require.NoError(t, err)
			s.arrive(t, &plain, 3)
			s.arrive(t, &ordered, 1)
			requests := []subscribers.FetchRequest{{WebhookID: plain.ID, Room: 10}, {WebhookID: ordered.ID, TenantID: s.tenant, Room: 1, Strict: true}}
			ctx, pool := s.leaving(t, text, false)
			_, _, err = subscribers.FetchDue(ctx, pool, requests)
			require.ErrorIs(t, err, context.Canceled)
			leased, _, err := subscribers.FetchDue(t.Context(), s.pool, requests)
			require.NoError(t, err)
			count := map[events.WebhookID]int{}
			for i := range leased {
				count[leased[i].WebhookID]++
				require.False(t, leased[i].Expired, "no lease ran out")
			}
			require.Equal(t, map[events.WebhookID]int{plain.ID: 3, ordered.ID: 1}, count)
		})
	}
}
