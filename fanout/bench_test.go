package fanout_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// BenchmarkDataFilters fans out events that no webhook wants: it tells what filters on data add to reading an event from
// the outbox, matching it and deleting its row. The webhooks without such a filter have one on labels.
func BenchmarkDataFilters(b *testing.B) {
	for _, size := range []int{2 << 10, 256 << 10} {
		for _, filtered := range []int{0, 1, 100} {
			b.Run(fmt.Sprintf("bytes=%d/filters=%d", size, filtered), func(b *testing.B) { benchmarkDataFilters(b, size, filtered) })
		}
	}
}

func benchmarkDataFilters(b *testing.B, size, filtered int) {
	ctx := b.Context()
	pool := pgtest.Pool(b)
	tenant := events.NewRandom[events.TenantKind]()
	_, err := pool.Exec(ctx, `INSERT INTO fanmail.tenants (id, name) VALUES ($1, 'test')`, tenant)
	require.NoError(b, err)
	hooks := subscribers.NewStore(pool, subscribers.Limits{WebhooksPerTenant: 100})
	for i := range 100 {
		w := subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true}
		if w.Filters.Labels = []string{"none"}; i < filtered {
			w.Filters = subscribers.Filters{Data: fmt.Appendf(nil, `{"from.address": {"prefix": "customer%d@"}, "subject": {"in": ["a", "b"]}, "size": {"gte": %d}}`, i, i)}
		}
		_, _, err := hooks.Create(ctx, tenant, w)
		require.NoError(b, err)
	}
	registry := subscribers.NewRegistry(pool, nil, nil)
	require.NoError(b, registry.Load(ctx))
	f := fanout.New(pool, nil, registry, fanout.Options{})
	evs := make([]events.Event, max(8, min(500, 8<<20/size)))
	line := `<p class=\"x\">A line of HTML.</p>\n`
	for i := range evs {
		evs[i] = events.Event{TenantID: tenant, Type: events.EmailReceived, Data: []byte(`{"from":[{"name":"Ann","address":"ann@example.org"}],"subject":"Order","html":"` +
			strings.Repeat(line, (size-600)/len(line)) + `","size":1}`)}
	}
	n, cpu := 0, int64(0)
	spent := func() int64 { // by this process, in microseconds
		var u syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return (u.Utime.Nano() + u.Stime.Nano()) / 1000
	}
	for b.Loop() {
		b.StopTimer()
		require.NoError(b, pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			_, err := outbox.InsertMany(ctx, tx, evs)
			return err
		}))
		before := spent()
		b.StartTimer()
		done, err := f.Round(ctx)
		require.NoError(b, err)
		require.Equal(b, len(evs), done)
		cpu += spent() - before
		n += done
	}
	b.ReportMetric(float64(cpu)/float64(n), "CPU-µs/event")
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(n), "µs/event")
}
