package api_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// opened is the principal of a new portal link.
func opened(t *testing.T, w *world, c client, hooks ...string) tenancy.Principal {
	t.Helper()
	made := c.do("POST", "/v1/portal-links", map[string]any{"webhook_ids": hooks}).want(t, 201)
	_, token, ok := strings.Cut(made.text("url"), "/console/portal/")
	require.True(t, ok, "%s", made.raw)
	link, p, err := tenancy.OpenPortal(t.Context(), w.pool, token)
	require.NoError(t, err)
	require.Equal(t, made.text("id"), link.ID.String())
	return p
}

// TestAPortalLinkAllowsItsOperationsAlone calls every operation as somebody with a link.
func TestAPortalLinkAllowsItsOperationsAlone(t *testing.T) {
	t.Parallel()
	h, w := handler(t)
	c := w.tenant()
	c.do("POST", "/v1/agents", map[string]any{"address": "owner@example.com"}).want(t, 201)
	mine, other := c.webhook("filters", map[string]any{"data": map[string]any{"to.address": "owner@example.com"}}), c.webhook("events", []string{"*"}, "filters", map[string]any{"agent_ids": []string{"owner@example.com"}})
	test := c.do("POST", "/v1/webhooks/"+mine+"/test", nil).want(t, 202)
	hidden := c.do("POST", "/v1/webhooks/"+other+"/test", nil).want(t, 202)
	message := insertMessage(t.Context(), t, w, c, test.text("event_id"), fmt.Appendf(nil, parcel, "x"))
	hiddenMessage := insertMessage(t.Context(), t, w, c, hidden.text("event_id"), fmt.Appendf(nil, parcel, "x"))
	p := opened(t, w, c, mine)

	allowed := map[string]string{
		"get-webhook": "/v1/webhooks/" + mine, "list-deliveries": "/v1/webhooks/" + mine + "/deliveries", "get-delivery": "/v1/deliveries/" + test.text("id"),
		"get-event": "/v1/events/" + test.text("event_id"), "get-stats": "/v1/stats?webhook_id=" + mine,
		"get-message-field": "/v1/messages/" + message + "/fields/subject", "retry-delivery": "/v1/deliveries/" + test.text("id") + "/retry",
	}
	foreign := map[string]string{
		"get-webhook": "/v1/webhooks/" + other, "list-deliveries": "/v1/webhooks/" + other + "/deliveries", "get-delivery": "/v1/deliveries/" + hidden.text("id"),
		"get-event": "/v1/events/" + hidden.text("event_id"), "get-stats": "/v1/stats?webhook_id=" + other,
		"get-message-field": "/v1/messages/" + hiddenMessage + "/fields/subject", "retry-delivery": "/v1/deliveries/" + hidden.text("id") + "/retry",
	}
	for _, o := range operations(t) {
		path, ok := allowed[o.ID]
		if !ok {
			inside(t, h, p, o.method, o.url(), map[string]any{}).want(t, 403)
			require.NotContains(t, o.Callers, "portal", o.ID)
			continue
		}
		require.Contains(t, o.Callers, "portal", o.ID)
		got := inside(t, h, p, o.method, path, nil)
		require.Equal(t, 200, got.status, "%s: %s", o.ID, got.raw)
		require.NotContains(t, string(got.raw), "owner@example.com\"", o.ID)
		inside(t, h, p, o.method, foreign[o.ID], nil).want(t, 404)
	}
	inside(t, h, p, "GET", "/v1/stats", nil).want(t, 404)

	// What it shows of an event, and of a webhook, is the link's alone.
	c.do("POST", "/v1/events/"+test.text("event_id")+"/redeliver", map[string]any{"webhook_id": other}).want(t, 202)
	require.Len(t, c.do("GET", "/v1/events/"+test.text("event_id"), nil).want(t, 200).json["deliveries"], 2)
	require.Len(t, inside(t, h, p, "GET", "/v1/events/"+test.text("event_id"), nil).want(t, 200).json["deliveries"], 1)
	require.NotContains(t, string(inside(t, h, p, "GET", "/v1/events/"+test.text("event_id"), nil).raw), other)

	// The token is no key, and a revoked link ends.
	made := c.do("POST", "/v1/portal-links", map[string]any{"webhook_ids": []string{mine}}).want(t, 201)
	_, token, _ := strings.Cut(made.text("url"), "/portal/")
	client{w: w, key: token}.do("GET", "/v1/webhooks/"+mine, nil).want(t, 401)
	require.NotContains(t, string(c.do("GET", "/v1/portal-links", nil).want(t, 200).raw), token)
	c.do("DELETE", "/v1/portal-links/"+p.PortalID.String(), nil).want(t, 204)
	inside(t, h, p, "GET", "/v1/webhooks/"+mine, nil).want(t, 401)
	c.do("DELETE", "/v1/portal-links/"+p.PortalID.String(), nil).want(t, 404)
	require.Equal(t, []string{made.text("id")}, c.do("GET", "/v1/portal-links", nil).want(t, 200).ids(t, "id"))
}

func TestAPortalLinkIsOfItsTenantsWebhooks(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	hook := c.webhook()
	other.do("POST", "/v1/portal-links", map[string]any{"webhook_ids": []string{hook}}).want(t, 404)
	made := c.do("POST", "/v1/portal-links", map[string]any{"webhook_ids": []string{hook, hook}}).want(t, 201)
	require.Equal(t, []any{hook}, made.json["webhook_ids"])
	require.True(t, strings.HasPrefix(made.text("url"), w.url+"/console/portal/"))
	other.do("DELETE", "/v1/portal-links/"+made.text("id"), nil).want(t, 404)
	require.Empty(t, other.do("GET", "/v1/portal-links", nil).want(t, 200).ids(t, "id"))

	// A key that expires makes no link that lives longer.
	short := client{w: w, key: c.do("POST", "/v1/keys", map[string]any{"expires_in": "30m"}).want(t, 201).text("secret")}
	short.do("POST", "/v1/portal-links", map[string]any{"webhook_ids": []string{hook}}).want(t, 422).names(t, "body.expires_in")
	short.do("POST", "/v1/portal-links", map[string]any{"webhook_ids": []string{hook}, "expires_in": "10m"}).want(t, 201)
	_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.portal_links SET expires_at = now() WHERE id = $1`, id[events.PortalKind](t, made.text("id")))
	require.NoError(t, err)
	_, token, _ := strings.Cut(made.text("url"), "/portal/")
	_, _, err = tenancy.OpenPortal(t.Context(), w.pool, token)
	require.ErrorIs(t, err, tenancy.ErrNoPortal)
}

// TestPortalLinksLeaveHalfOfTheDaysChangesToTheTenant retries without end as somebody with a link.
func TestPortalLinksLeaveHalfOfTheDaysChangesToTheTenant(t *testing.T) {
	t.Parallel()
	h, w := handler(t)
	c := w.tenant()
	hook := c.webhook()
	retry := "/v1/deliveries/" + c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202).text("id") + "/retry"
	w.setQuota(c, map[string]any{"changes_per_day": 10})
	p := opened(t, w, c, hook)
	for w.changes() < 5 {
		inside(t, h, p, "POST", retry, nil).want(t, 200)
	}
	require.Contains(t, inside(t, h, p, "POST", retry, nil).want(t, 429).text("detail"), "quota changes_per_day")
	c.do("POST", retry, nil).want(t, 200)
	c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"paused": true}).want(t, 200)
}

func TestABadSettingOfAPortalLinkIsNamed(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := c.webhook()
	for _, b := range []struct {
		field string
		value any
		names string
	}{
		{"webhook_ids", []string{}, "body.webhook_ids"},
		{"webhook_ids", []string{hook, "nonsense"}, "body.webhook_ids[1]"},
		{"webhook_ids", []string{hook[:20]}, "body.webhook_ids[0]"},
		{"webhook_ids", []string{""}, "body.webhook_ids[0]"},
		{"expires_in", "59s", "body.expires_in"},
		{"expires_in", "721h", "body.expires_in"},
		{"expires_in", "soon", "body.expires_in"},
		{"origins", []string{"https://a.example/path"}, "body.origins[0]"},
		{"origins", []string{"https://a.example", "https://*.example"}, "body.origins[1]"},
		{"origins", []string{"https://a.example; script-src *"}, "body.origins[0]"},
		{"origins", []string{"https://user@a.example"}, "body.origins[0]"},
		{"origins", []string{"https://A.example"}, "body.origins[0]"},
		{"origins", []string{"*"}, "body.origins[0]"},
		{"origins", []string{"null"}, "body.origins[0]"},
		{"origins", []string{"http://a.example"}, "body.origins[0]"},
		{"origins", []string{"http://127.0.0.1:3000"}, "body.origins[0]"}, // this server takes no plain HTTP
		{"theme", map[string]any{"accent": "red; } body { display: none"}, "body.theme.accent"},
		{"theme", map[string]any{"accent": "#12345"}, "body.theme.accent"},
		{"theme", map[string]any{"language": "xx"}, "body.theme.language"},
		{"theme", map[string]any{"logo": "https://evil.example/l.png"}, "body.theme.logo"},
		{"theme", map[string]any{"logo": "data:image/svg+xml;base64,PHN2Zz4="}, "body.theme.logo"},
		{"theme", map[string]any{"logo": "data:image/png;base64," + base64.StdEncoding.EncodeToString([]byte("<script>"))}, "body.theme.logo"},
	} {
		body := map[string]any{"webhook_ids": []string{hook}}
		body[b.field] = b.value
		c.do("POST", "/v1/portal-links", body).want(t, 422).names(t, b.names)
	}
	c.do("POST", "/v1/portal-links", map[string]any{
		"webhook_ids": []string{hook}, "expires_in": "720h", "origins": []string{"https://a.example", "https://b.example:8443", "https://[2001:db8::1]:444"},
		"theme": map[string]any{"accent": "#0A5bd3", "language": "de"},
	}).want(t, 201)
}
