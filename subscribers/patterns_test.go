package subscribers_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestTheRegistryMatchesPatterns(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	pool := pgtest.Pool(t)
	tenant, stranger := events.NewRandom[events.TenantKind](), events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test'), ($2, 'stranger')`, tenant, stranger)
	require.NoError(t, err)
	store := subscribers.NewStore(pool, subscribers.Limits{})
	names := map[events.WebhookID]string{}
	for _, pattern := range []events.Type{"*", "order.*", "order.line.*", "email.*"} {
		w, _, err := store.Create(ctx, tenant, subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{"email.bounced", pattern}, Enabled: true})
		require.NoError(t, err)
		names[w.ID] = string(pattern)
		_, _, err = store.Create(ctx, stranger, subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{pattern}, Enabled: true})
		require.NoError(t, err)
	}
	r := subscribers.NewRegistry(pool, nil, nil)
	require.NoError(t, r.Load(ctx))
	for typ, want := range map[events.Type][]string{
		"order.created":    {"*", "order.*"},
		"order.line.added": {"*", "order.*", "order.line.*"},
		"orders.created":   {"*"},
		"email.sent":       {"*", "email.*"},
		"email.bounced":    {"*", "order.*", "order.line.*", "email.*"},
	} {
		var got []string
		for _, e := range r.Match(nil, &events.Record{TenantID: tenant, Type: typ}, nil) {
			got = append(got, names[e.ID])
		}
		require.ElementsMatch(t, want, got, typ)
		list, _, err := store.Matches(ctx, &events.Record{ID: events.NewID(), TenantID: tenant, Type: typ}, nil, false, false, subscribers.Place{}, 10)
		require.NoError(t, err)
		wanted := 0
		for _, m := range list {
			if m.Wanted {
				wanted++
			}
		}
		require.Equal(t, len(want), wanted, "%s: what is explained is what is matched", typ)
	}
}

// TestMatchingByPlacesIsMatchingOneByOne compares the look-up of a type for all webhooks with each webhook's own types.
func TestMatchingByPlacesIsMatchingOneByOne(t *testing.T) {
	t.Parallel()
	names := []events.Type{"*", "order.*", "order.line.*", "order.line", "order.line.added", "order.created", "orders.*", "email.*", "email.sent", "email.received", "a.b.c.d.*", "a.*"}
	asked := []events.Type{"order.line.added", "order.line", "order.created", "orders.created", "email.sent", "email.received", "email.bounced", "a.b.c.d.e", "a.b", "b.a", "order.linen"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var list []*subscribers.Entry
		for range random.IntN(80) {
			e := &subscribers.Entry{}
			for range 1 + random.IntN(4) {
				e.Events = append(e.Events, names[random.IntN(len(names))])
			}
			if random.IntN(5) == 0 {
				e.Filters.Labels = []string{"never"}
			}
			list = append(list, e)
		}
		takers := subscribers.NewTakers(list...)
		for _, typ := range asked {
			var want []*subscribers.Entry
			for _, e := range list {
				if len(e.Filters.Labels) == 0 && slices.ContainsFunc(e.Events, func(p events.Type) bool { return p.Selects(typ) }) {
					want = append(want, e)
				}
			}
			require.Equal(t, want, takers.Match(nil, &events.Record{Type: typ}, nil), "in their order, each once")
		}
	}
	require.Empty(t, (*subscribers.Takers)(nil).Match(nil, &events.Record{Type: "order.line"}, nil))
}

// BenchmarkMatch asks for the webhooks of one event of a tenant with 50 webhooks: as it was before there were patterns,
// with patterns, and with as many as there may be.
func BenchmarkMatch(b *testing.B) {
	many := make([]events.Type, subscribers.MaxEvents)
	for i := range many {
		many[i] = events.Type(fmt.Sprintf("order.t%d.*", i))
	}
	for name, types := range map[string][]events.Type{
		"built-in": {events.EmailSent, events.EmailBounced, events.EmailReceived}, "patterns": {"order.*", "ticket.*", "email.*"}, "100 patterns": many,
	} {
		b.Run(name, func(b *testing.B) {
			pool := pgtest.Pool(b)
			tenant := events.NewRandom[events.TenantKind]()
			_, err := pool.Exec(b.Context(), `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
			require.NoError(b, err)
			_, err = pool.Exec(b.Context(), `INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret)
				SELECT gen_random_uuid(), $1, 'https://x.example/', $2, 'whsec_AAAAAAAAAAAAAAAAAAAAAAAA' FROM generate_series(1, 50)`, tenant, types)
			require.NoError(b, err)
			r := subscribers.NewRegistry(pool, nil, nil)
			require.NoError(b, r.Load(b.Context()))
			ev := &events.Record{TenantID: tenant, Type: events.EmailReceived}
			to := make([]*subscribers.Entry, 0, 50)
			b.ReportAllocs()
			for b.Loop() {
				to = r.Match(to[:0], ev, nil)
			}
		})
	}
}
