package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// rows counts the rows of a statement.
func (w *world) rows(sql string) (n int) {
	w.t.Helper()
	require.NoError(w.t, w.pool.QueryRow(w.t.Context(), sql).Scan(&n))
	return n
}

func TestWhatATenantCreatesInADayIsBounded(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	w.setQuota(c, map[string]any{"changes_per_day": 8})
	for n := range 2 {
		key := c.do("POST", "/v1/keys", map[string]any{}).want(t, 201).text("id")
		c.do("DELETE", "/v1/keys/"+key, nil).want(t, 204)
		address := fmt.Sprintf("a%d@example.com", n)
		c.agent(address).want(t, 201)
		c.do("DELETE", "/v1/agents/"+address, nil).want(t, 204)
		c.do("DELETE", "/v1/webhooks/"+c.webhook(), nil).want(t, 204)
		c.do("POST", "/v1/domains", map[string]any{"domain": fmt.Sprintf("d%d.example", n)}).want(t, 201)
	}
	for path, body := range map[string]map[string]any{
		"/v1/keys": {}, "/v1/agents": {"address": "more@example.com"}, "/v1/domains": {"domain": "more.example"},
		"/v1/webhooks": {"url": hookURL, "events": []string{"email.sent"}},
	} {
		require.Contains(t, c.do("POST", path, body).want(t, 429).text("detail"), "quota changes_per_day: this tenant may make 8 changes", path)
	}
	c.do("POST", "/v1/domains", map[string]any{"domain": "d0.example"}).want(t, 201)
	used := c.do("GET", "/v1/tenants/"+c.tenantID+"/quota", nil).want(t, 200).json["used"].(map[string]any)
	require.EqualValues(t, 8, used["changes_today"])
}

// TestEveryChangeOfADayIsBounded: what the audit log has counts, whatever it changes; what takes away is never refused.
func TestEveryChangeOfADayIsBounded(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook, key := c.webhook(), c.do("POST", "/v1/keys", map[string]any{}).want(t, 201).text("id")
	c.agent("a@example.com").want(t, 201)
	event := c.event()
	failed := deliverLive(t.Context(), t, w, event, hook)
	w.setQuota(c, map[string]any{"changes_per_day": w.changes() + 4})
	used := func() any {
		return c.do("GET", "/v1/tenants/"+c.tenantID+"/quota", nil).want(t, 200).json["used"].(map[string]any)["changes_today"]
	}
	before := w.changes()
	change := map[string]any{"filters": map[string]any{"labels": []string{"x"}}}
	for range 2 {
		c.do("PATCH", "/v1/webhooks/"+hook, change).want(t, 200)
		c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"url": "nonsense"}).want(t, 422)
		c.do("PATCH", "/v1/webhooks/"+events.NewRandom[events.WebhookKind]().String(), change).want(t, 404)
	}
	require.EqualValues(t, before+2, used(), "one that fails does not count")
	c.do("POST", "/v1/deliveries/"+failed+"/retry", nil).want(t, 200)
	c.do("POST", "/v1/events/"+c.event()+"/redeliver", nil).want(t, 202)
	require.EqualValues(t, before+4, used(), "a redelivery to nobody is no event, but a change")
	c.do("POST", "/v1/events/"+event+"/redeliver", nil).want(t, 202)
	c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202)

	entries := w.rows(`SELECT count(*) FROM fanmail.audit_log`)
	for path, body := range map[string]any{
		"/v1/webhooks/" + hook + "/retry": map[string]any{"since": "2026-01-01T00:00:00Z"}, "/v1/webhooks/" + hook + "/rotate-secret": nil, "/v1/keys/" + key + "/rotate": nil,
		"/v1/replays": map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all"}, "/v1/agents": map[string]any{"address": "b@example.com"},
	} {
		for _, header := range [][]string{nil, {"Idempotency-Key", path}} {
			require.Contains(t, c.do("POST", path, body, header...).want(t, 429).text("detail"), "quota changes_per_day: this tenant may make", path)
		}
	}
	c.do("POST", "/v1/deliveries/"+failed+"/retry", nil).want(t, 429)
	refused := c.do("PATCH", "/v1/agents/a@example.com", map[string]any{"require_dmarc": true}).want(t, 429)
	require.NotEmpty(t, refused.header.Get("Retry-After"))
	require.Equal(t, entries, w.rows(`SELECT count(*) FROM fanmail.audit_log`))
	require.Equal(t, 0, w.rows(`SELECT count(*) FROM fanmail.idempotency_keys`))

	w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": c.tenantID}).want(t, 201)
	c.do("DELETE", "/v1/keys/"+key, nil).want(t, 204)
	c.do("DELETE", "/v1/agents/a@example.com", nil).want(t, 204)
	require.EqualValues(t, before+4, used())
}

// TestARequestThatChangesNothingIsNotStored: an Idempotency-Key keeps a row for what counts against a quota, and no other.
func TestARequestThatChangesNothingIsNotStored(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	pull := c.do("POST", "/v1/webhooks", map[string]any{"kind": "pull", "events": []string{"email.sent"}}).want(t, 201).text("id")
	tested := c.do("POST", "/v1/webhooks/"+pull+"/test", map[string]any{"type": "email.sent"}).want(t, 202).text("id")
	c.do("POST", "/v1/domains", map[string]any{"domain": "claimed.example"}).want(t, 201)
	event := map[string]any{"type": "email.sent", "data": map[string]any{}, "idempotency_key": "e"}
	made := c.do("POST", "/v1/events", event).want(t, 202).text("id")
	replay := "/v1/replays/" + c.do("POST", "/v1/replays", map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all"}).want(t, 202).text("id")
	c.do("DELETE", replay, nil).want(t, 202)
	entries := w.rows(`SELECT count(*) FROM fanmail.audit_log`)
	for n := range 3 {
		key := []string{"Idempotency-Key", fmt.Sprint(n)}
		c.do("POST", "/v1/replays/preview", map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all", "webhook_id": hook}, key...).want(t, 200)
		c.do("POST", "/v1/domains", map[string]any{"domain": "claimed.example"}, key...).want(t, 201)
		require.Equal(t, made, c.do("POST", "/v1/events", event, key...).want(t, 202).text("id"))
		lease := c.do("GET", "/v1/webhooks/"+pull+"/poll", nil).want(t, 200).json["data"].([]any)[0].(map[string]any)["lease"]
		released := map[string]any{"released": []string{tested}, "lease": lease}
		require.EqualValues(t, 1, c.do("POST", "/v1/webhooks/"+pull+"/ack", released, key...).want(t, 200).json["released"])
		c.do("DELETE", replay, nil).want(t, 202)
	}
	require.Equal(t, 0, w.rows(`SELECT count(*) FROM fanmail.idempotency_keys`))
	require.Equal(t, entries, w.rows(`SELECT count(*) FROM fanmail.audit_log`), "nor does a replay end twice")
	c.do("GET", "/v1/webhooks/"+pull+"/poll", nil).want(t, 200)
	done := map[string]any{"delivery_ids": []string{tested}}
	for range 2 {
		require.EqualValues(t, 1, c.do("POST", "/v1/webhooks/"+pull+"/ack", done, "Idempotency-Key", "done").want(t, 200).json["delivered"])
	}
	require.Equal(t, 1, w.rows(`SELECT count(*) FROM fanmail.idempotency_keys`))
}

func TestDomainsHaveAQuotaAndAnEnd(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.stranger()
	w.setQuota(c, map[string]any{"domains": 2})
	for _, name := range []string{"a.example", "b.example"} {
		c.do("POST", "/v1/domains", map[string]any{"domain": name}).want(t, 201)
	}
	require.Contains(t, c.do("POST", "/v1/domains", map[string]any{"domain": "c.example"}).want(t, 409).text("detail"), "quota domains")
	c.do("POST", "/v1/domains", map[string]any{"domain": "a.example"}).want(t, 201)
	w.operator.do("POST", "/v1/domains", map[string]any{"tenant_id": c.tenantID, "domain": "given.example"}).want(t, 201)
	_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.domains SET created_at = created_at - interval '7 days 1 second' WHERE name <> 'b.example'`)
	require.NoError(t, err)
	_, err = retention.Run(t.Context(), w.pool, mailbox.RetentionRules(retention.Policy{}))
	require.NoError(t, err)
	require.Equal(t, []string{"b.example", "given.example"}, c.do("GET", "/v1/domains", nil).want(t, 200).ids(t, "domain"))
}

func TestTestsAndRedeliveriesCountAsEvents(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	w.setQuota(c, map[string]any{"events_per_day": 4})
	event := c.do("POST", "/v1/events", map[string]any{"type": "email.received", "data": map[string]any{}}, "Idempotency-Key", "e").want(t, 202).text("id")
	c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202)
	c.do("POST", "/v1/webhooks/"+hook+"/test", nil, "Idempotency-Key", "t").want(t, 202)
	c.do("POST", "/v1/webhooks/"+hook+"/test", nil, "Idempotency-Key", "t").want(t, 202)
	c.do("POST", "/v1/events/"+event+"/redeliver", map[string]any{"webhook_id": hook}, "Idempotency-Key", "r").want(t, 202)
	used := c.do("GET", "/v1/tenants/"+c.tenantID+"/quota", nil).want(t, 200).json["used"].(map[string]any)
	require.EqualValues(t, 4, used["events_today"])
	for path, body := range map[string]any{
		"/v1/webhooks/" + hook + "/test": nil, "/v1/events/" + event + "/redeliver": nil,
		"/v1/events": map[string]any{"type": "email.received", "data": map[string]any{}},
	} {
		require.Contains(t, c.do("POST", path, body).want(t, 429).text("detail"), "quota events_per_day", path)
	}
}

func TestWhatIsDeletedLeavesTheTables(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.agent("a@example.com").want(t, 201)
	hook := c.webhook("description", "long", "filters", map[string]any{"labels": []string{"x"}, "agent_ids": []string{"a@example.com"}})
	tested := c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202).text("id")
	c.do("DELETE", "/v1/webhooks/"+hook, nil).want(t, 204)
	require.Equal(t, 1, w.rows(`SELECT count(*) FROM fanmail.webhooks WHERE description = '' AND filter_labels = '{}' AND filter_agent_ids = '{}'`))
	key := c.do("POST", "/v1/keys", map[string]any{}).want(t, 201).text("id")
	c.do("DELETE", "/v1/keys/"+key, nil).want(t, 204)
	rules := append(subscribers.RetentionRules(retention.Policy{}), api.RetentionRules(0)...)
	age := func() {
		_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.webhooks SET deleted_at = deleted_at - interval '30 days 1 second'`)
		require.NoError(t, err)
		_, err = w.pool.Exec(t.Context(), `UPDATE fanmail.api_keys SET revoked_at = revoked_at - interval '30 days 1 second'`)
		require.NoError(t, err)
	}
	for range 2 {
		_, err := retention.Run(t.Context(), w.pool, rules)
		require.NoError(t, err)
		require.Equal(t, 1, w.rows(`SELECT count(*) FROM fanmail.webhooks`), "it has a delivery that can be read")
		c.do("GET", "/v1/deliveries/"+tested, nil).want(t, 200)
		age()
	}
	require.Equal(t, 0, w.rows(`SELECT count(*) FROM fanmail.api_keys WHERE revoked_at IS NOT NULL`))
	_, err := w.pool.Exec(t.Context(), `DELETE FROM fanmail.webhook_subscriber_deliveries`)
	require.NoError(t, err)
	_, err = retention.Run(t.Context(), w.pool, rules)
	require.NoError(t, err)
	require.Equal(t, 0, w.rows(`SELECT count(*) FROM fanmail.webhooks`))
}

func TestABodyMustBeUTF8(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for path, body := range map[string]string{
		"/v1/keys": "{\"name\": \"a\xffb\"}", "/v1/agents": "{\"address\": \"a\xff@example.com\"}", "/v1/domains": "{\"domain\": \"a\xc3.example\"}",
	} {
		a := c.do("POST", path, body)
		require.Contains(t, []int{400, 422}, a.status, "%s", a.raw)
		require.Contains(t, string(a.raw), "UTF-8")
	}
}
