package api_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// large are lists whose entries may be large, each with a statement that gives the tenant $1 many entries of $2 bytes.
var large = []struct{ path, name, fill string }{
	{"/v1/agents", "address", `INSERT INTO fanmail.agents (tenant_id, address, allow_senders)
		SELECT $1, 'a' || i || '@example.com', array_fill(repeat('x', 200) || '@example.com', ARRAY[$2::int / 212]) FROM generate_series(10, 49) AS i`},
	{"/v1/webhooks", "id", `INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret, filter_labels)
		SELECT gen_random_uuid(), $1, 'https://example.com', '{email.received}', '', array_fill(repeat('x', 1000), ARRAY[$2::int / 1000]) FROM generate_series(1, 40)`},
	{"/v1/audit", "at", `INSERT INTO fanmail.audit_log (id, created_at, tenant_id, actor_kind, actor_id, actor_name, operation, object, after)
		SELECT gen_random_uuid(), now() - make_interval(secs => i / 1e6), $1, 'key', 'key_1', 'robot', 'change-agent', 'o', to_jsonb(repeat('x', $2::int)) FROM generate_series(1, 40) AS i`},
	{"/v1/audit?operation=change-agent", "at", ``},
	{"/v1/portal-links", "id", `INSERT INTO fanmail.portal_links (id, tenant_id, webhook_ids, token_hash, origins, theme, expires_at)
		SELECT gen_random_uuid(), $1, '{}', sha256(convert_to('link ' || i, 'UTF8')), '{}', jsonb_build_object('logo', repeat('x', $2::int)), now() + interval '1 hour' FROM generate_series(1, 40) AS i`},
	{"/v1/replays", "id", `INSERT INTO fanmail.replays (id, tenant_id, mode, types, agent_ids, since, until, state, phase, finished_at)
		SELECT gen_random_uuid(), $1, 'all', '{}', array_fill(repeat('x', 1000), ARRAY[$2::int / 1000]), now() - interval '1 hour', now(), 'completed', 'done', now() FROM generate_series(1, 40)`},
	{"/v1/events", "id", `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, message_id, message_key, labels, envelope)
		SELECT gen_random_uuid(), date_trunc('minute', now()), $1, 'email.sent', i, 'm', 0, array_fill(repeat('x', 1000), ARRAY[$2::int / 1000]), '{"data":{"subject":"many"}}' FROM generate_series(1, 40) AS i`},
	{"/v1/events?type=email.sent", "id", ``},
}

// bounded reads a list to its end, and checks that no page is large, that there are several, and that none repeats an
// entry. It returns how many entries there are.
func bounded(t *testing.T, c client, path, name string) int {
	t.Helper()
	seen := map[string]bool{}
	for cursor, n := "", 1; ; n++ {
		query := url.Values{"limit": {"100"}}
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		a := c.do("GET", with(path, query.Encode()), nil).want(t, 200)
		require.Less(t, len(a.raw), pg.PageBytes+2*largeBytes, path)
		for _, entry := range a.ids(t, name) {
			require.False(t, seen[entry], "%s repeats", path)
			seen[entry] = true
		}
		if cursor = a.text("next_cursor"); cursor == "" {
			require.GreaterOrEqual(t, n, 4, path)
			return len(seen)
		}
		require.NotEmpty(t, a.ids(t, name), path)
	}
}

// largeBytes is how many bytes the entries of [large] have.
const largeBytes = 100_000

// The memory of a page is bounded however large its entries are, and no entry is left out or listed twice.
func TestAPageIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for _, l := range large {
		if l.fill != "" {
			_, err := w.pool.Exec(t.Context(), l.fill, id[events.TenantKind](t, c.tenantID), largeBytes)
			require.NoError(t, err, l.path)
		}
		require.GreaterOrEqual(t, bounded(t, c, l.path, l.name), 40, l.path)
	}
	// It has little of each webhook, but compares the event with their filters.
	require.Equal(t, 40, bounded(t, c, "/v1/events/"+c.event()+"/matches", "webhook_id"))
}

// One entry may be larger than a page.
func TestAPageHasAtLeastOneEntry(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	_, err := w.pool.Exec(t.Context(), large[0].fill, id[events.TenantKind](t, c.tenantID), pg.PageBytes+1000)
	require.NoError(t, err)
	got := pages(t, c, "/v1/agents", "address", 1, func() {})
	require.Len(t, got, 40)
	a := c.do("GET", "/v1/agents?limit=100", nil).want(t, 200)
	require.Equal(t, got[:1], a.ids(t, "address"))
	require.NotEmpty(t, a.text("next_cursor"))
}

func TestAnExportReadsLargeRowsInBoundedPieces(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	of := id[events.TenantKind](t, c.tenantID)
	for _, l := range large[:2] {
		_, err := w.pool.Exec(t.Context(), l.fill, of, largeBytes)
		require.NoError(t, err)
	}
	e := c.export("?what=configuration")
	require.Len(t, e.of("agent"), 40)
	require.Len(t, e.of("webhook"), 40)
}
