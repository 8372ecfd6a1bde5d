package api_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnAgentsLife(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	made := c.do("POST", "/v1/agents", map[string]any{"address": "Help+Desk@Example.COM", "webhook_url": hookURL}).want(t, 201)
	require.Equal(t, "help+desk@example.com", made.text("address"))
	require.Equal(t, hookURL, made.text("webhook_url"))
	require.Equal(t, made.json, c.do("GET", "/v1/agents/HELP+desk@example.com", nil).want(t, 200).json)

	c.do("POST", "/v1/agents", map[string]any{"address": "help+desk@example.com"}).want(t, 409).names(t, "body.address")
	// A stranger to the domain gets the same answer, whether the address is taken or free.
	taken := other.do("POST", "/v1/agents", map[string]any{"address": "HELP+desk@example.com"}).want(t, 422)
	free := other.do("POST", "/v1/agents", map[string]any{"address": "free@example.com"}).want(t, 422)
	require.Equal(t, string(free.raw), string(taken.raw))
	taken.names(t, "body.address")

	typed := c.do("PATCH", "/v1/agents/help+desk@example.com", map[string]any{"webhook_url": " HTTPS://BÜCHER.example:443/a b "}).want(t, 200)
	require.Equal(t, "https://xn--bcher-kva.example/a%20b", typed.text("webhook_url"))
	c.do("PATCH", "/v1/agents/help+desk@example.com", map[string]any{"webhook_url": "https://127.1/"}).want(t, 422).names(t, "body.webhook_url")
	c.do("PATCH", "/v1/agents/help+desk@example.com", map[string]any{"webhook_url": hookURL}).want(t, 200)
	c.do("PATCH", "/v1/agents/help+desk@example.com", map[string]any{"webhook_url": "http://127.0.0.1/"}).want(t, 422).names(t, "body.webhook_url")
	require.Equal(t, hookURL, c.do("PATCH", "/v1/agents/help+desk@example.com", map[string]any{}).want(t, 200).text("webhook_url"))
	require.Nil(t, c.do("PATCH", "/v1/agents/help+desk@example.com", map[string]any{"webhook_url": nil}).want(t, 200).json["webhook_url"])
	c.do("PATCH", "/v1/agents/help+desk@example.com", map[string]any{"address": "x@example.com"}).want(t, 422).names(t, "body.address")
	slash := c.do("POST", "/v1/agents", map[string]any{"address": "a/b@example.com"}).want(t, 201)
	require.Equal(t, slash.json, c.do("GET", "/v1/agents/a%2Fb@example.com", nil).want(t, 200).json)

	c.do("DELETE", "/v1/agents/help+desk@example.com", nil).want(t, 204)
	c.do("DELETE", "/v1/agents/help+desk@example.com", nil).want(t, 404)
	c.do("GET", "/v1/agents/%00", nil).want(t, 422).names(t, "path.address")
	c.do("GET", "/v1/agents/%ff", nil).want(t, 422).names(t, "path.address")
	c.do("POST", "/v1/agents", map[string]any{"address": "help+desk@example.com"}).want(t, 201)
	c.do("DELETE", "/v1/agents/help+desk@example.com", nil).want(t, 204)
	// A released address stays refused to others for 30 days, also to the domain's next owner.
	w.operator.do("POST", "/v1/domains", map[string]any{"tenant_id": other.tenantID, "domain": "example.com"}).want(t, 201)
	other.do("POST", "/v1/agents", map[string]any{"address": "help+desk@example.com"}).want(t, 409)
	_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.released_names SET released_at = now() - interval '31 days'`)
	require.NoError(t, err)
	other.do("POST", "/v1/agents", map[string]any{"address": "help+desk@example.com"}).want(t, 201)
	for _, bad := range []string{"", "x", "x@", "@y", "a b@example.com", "Name <a@example.com>", "a@example.com, b@example.com", "a@example.com\r\n", strings.Repeat("l", 250) + "@example.com"} {
		c.do("POST", "/v1/agents", map[string]any{"address": bad}).want(t, 422).names(t, "body.address")
	}
}

func TestAnAgentsRulesForSenders(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	const at = "/v1/agents/help@example.com"
	made := c.do("POST", "/v1/agents", map[string]any{
		"address": "help@example.com", "webhook_url": hookURL, "allow_senders": []string{"@Friend.example", "ann@EXAMPLE.org", "@friend.example"}, "require_dmarc": true,
	}).want(t, 201)
	require.Equal(t, []any{"@friend.example", "ann@example.org"}, made.json["allow_senders"])
	require.Equal(t, []any{}, made.json["deny_senders"])
	require.Equal(t, true, made.json["require_dmarc"])
	require.Equal(t, made.json, c.do("GET", at, nil).want(t, 200).json)
	require.Equal(t, made.json, c.do("PATCH", at, map[string]any{}).want(t, 200).json)

	changed := c.do("PATCH", at, map[string]any{"deny_senders": []string{"*.spam.example"}, "require_dmarc": nil}).want(t, 200)
	require.Equal(t, []any{"@friend.example", "ann@example.org"}, changed.json["allow_senders"], "what is absent stays")
	require.Equal(t, []any{"*.spam.example"}, changed.json["deny_senders"])
	require.Equal(t, false, changed.json["require_dmarc"])
	require.Equal(t, hookURL, changed.text("webhook_url"))
	cleared := c.do("PATCH", at, map[string]any{"allow_senders": nil, "deny_senders": []string{}}).want(t, 200)
	require.Equal(t, []any{}, cleared.json["allow_senders"])
	require.Equal(t, []any{}, cleared.json["deny_senders"])

	for _, field := range []string{"allow_senders", "deny_senders"} {
		c.do("PATCH", at, map[string]any{field: []string{"ok@example.com", "example.com"}}).want(t, 422).names(t, "body."+field+"[1]")
		c.do("PATCH", at, map[string]any{field: []string{"a\x00@example.com"}}).want(t, 422).names(t, "body."+field+"[0]")
		c.do("PATCH", at, map[string]any{field: slices.Repeat([]string{"@example.com"}, 1001)}).want(t, 422).names(t, "body."+field)
		c.do("PATCH", at, map[string]any{field: "@example.com"}).want(t, 422).names(t, "body."+field)
		c.do("POST", "/v1/agents", map[string]any{"address": "new@example.com", field: []string{"x"}}).want(t, 422).names(t, "body."+field+"[0]")
	}
	c.do("GET", "/v1/agents/new@example.com", nil).want(t, 404)
}
