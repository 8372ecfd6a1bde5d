package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

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
		require.Contains(t, c.do("POST", path, body).want(t, 429).text("detail"), "quota changes_per_day: this tenant may create 8", path)
	}
	c.do("POST", "/v1/domains", map[string]any{"domain": "d0.example"}).want(t, 201)
	used := c.do("GET", "/v1/tenants/"+c.tenantID+"/quota", nil).want(t, 200).json["used"].(map[string]any)
	require.EqualValues(t, 8, used["changes_today"])
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
