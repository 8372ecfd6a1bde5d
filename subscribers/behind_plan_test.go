package subscribers_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgplan"
)

// TestBacklogsOfAllAreCountedWithinABound: a webhook with a large backlog costs what is counted of it, and no history is read.
func TestBacklogsOfAllAreCountedWithinABound(t *testing.T) {
	t.Parallel()
	b := newBacklog(t)
	ctx := context.Background()
	list, err := subscribers.CountLate(ctx, b.Pool, append([]events.WebhookID{b.heavy, b.strict}, b.light...))
	require.NoError(t, err)
	require.Len(t, list, 2+lightHooks)
	counted := map[events.WebhookID]subscribers.Late{}
	for _, l := range list {
		counted[l.WebhookID] = l
	}
	require.Equal(t, subscribers.LateCount, counted[b.heavy].Pending)
	require.True(t, counted[b.heavy].More)
	require.Equal(t, strictRows, counted[b.strict].Pending)
	require.Equal(t, lightRows, counted[b.light[0]].Pending)
	require.NotNil(t, counted[b.light[0]].Oldest)
	pending := subscribers.LateCount + strictRows + lightHooks*lightRows
	b.Of(t, "CROSS JOIN LATERAL (SELECT count(*) AS n, min(next_retry_at) AS due").Within(t, pgplan.Bound{
		Indexes: []string{byDue, byStrict, "webhooks_pkey"}, Rows: 2*pending + 100, Blocks: 2 * pending,
	})

	b.Reset()
	late, err := subscribers.FindLate(ctx, b.Pool, 5)
	require.NoError(t, err)
	require.Equal(t, []events.WebhookID{b.heavy}, late, "the others are not due, or strict")
	b.Of(t, "WITH RECURSIVE found").Within(t, pgplan.Bound{Indexes: []string{byDue, "webhooks_pkey"}, Rows: 1000, Sorted: 20, Blocks: 2000})

	b.Reset()
	labels, err := subscribers.Labels(ctx, b.Pool, []events.WebhookID{b.heavy})
	require.NoError(t, err)
	require.Equal(t, "https://hooks.example.com/", labels[b.heavy].URL)
	b.Of(t, "SELECT id, url, description").Within(t, pgplan.Bound{Indexes: []string{"webhooks_pkey"}, Rows: 10, Blocks: 20})
}
