package api_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/dnstest"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// changing calls operations that change something and looks for their entries.
type changing struct {
	t       *testing.T
	w       *world
	methods map[string]string // by operation
	driven  map[string]bool
	secrets []string
}

// unaudited are the operations of which no call has an entry.
var unaudited = map[string]bool{"create-event": true, "preview-replay": true, "ack-webhook": true}

// asEvents are the operations that count as events of the tenant's day, and so not as changes.
var asEvents = map[string]bool{"test-webhook": true, "redeliver-event": true}

// changes is how many changes of the tenants' days count.
func (w *world) changes() int {
	return w.rows(`SELECT coalesce(sum(changes), 0) FROM fanmail.tenant_usage`)
}

// do calls an operation that must succeed, and returns its answer and its entry, nil for none. What has an entry counts.
func (g *changing) do(who client, id, path string, body any) (*answer, map[string]any) {
	g.t.Helper()
	before, counts := g.w.audited(g.t, id), g.w.changes()
	if who != g.w.operator && g.methods[id] != http.MethodDelete && !unaudited[id] && !asEvents[id] {
		counts++
	}
	a := who.do(g.methods[id], path, body)
	require.Less(g.t, a.status, 300, "%s: %s", id, a.raw)
	require.Equal(g.t, counts, g.w.changes(), "%s counts against changes_per_day", id)
	g.driven[id] = true
	for _, name := range []string{"secret", "signing_secret"} {
		if s, ok := a.json[name].(string); ok {
			g.secrets = append(g.secrets, strings.TrimPrefix(s, "whsec_"))
		}
	}
	if unaudited[id] {
		require.Equal(g.t, before, g.w.audited(g.t, id), id)
		return a, nil
	}
	require.Equal(g.t, before+1, g.w.audited(g.t, id), "%s has one entry", id)
	newest := g.w.operator.do("GET", "/v1/audit?operation="+id, nil).want(g.t, 200).json["data"].([]any)[0].(map[string]any)
	if strings.HasPrefix(id, "create-") {
		require.NotEmpty(g.t, newest["object"], "%s names what it made", id)
		if made, ok := a.json["id"]; ok {
			require.Equal(g.t, made, newest["object"], id)
		}
	}
	return a, newest
}

// changed is do for an operation of which the entry shows the object before and after.
func (g *changing) changed(who client, id, path string, body any, field string, before, after any) {
	g.t.Helper()
	_, e := g.do(who, id, path, body)
	for name, want := range map[string]any{"before": before, "after": after} {
		object, _ := e[name].(map[string]any)
		if want == nil {
			require.Empty(g.t, object, "%s: %s", id, name)
			continue
		}
		require.Equal(g.t, fmt.Sprint(want), fmt.Sprint(object[field]), "%s: %s", id, name)
	}
}

// TestEachOperationThatChangesSomethingHasOneEntry drives every operation that is no GET to a success.
func TestEachOperationThatChangesSomethingHasOneEntry(t *testing.T) {
	t.Parallel()
	nc, _ := natstest.Connect(t)
	z := &zone{txt: map[string]string{}}
	server, _ := dnstest.ServeFunc(t, z.answer)
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	keys, err := keyring.Parse(secret.Text(text))
	require.NoError(t, err)
	w := start(t, func(o *api.Options) { o.NC, o.DNSServer, o.Secrets = nc, server, keys })
	d := agentwebhook.New(w.pool, nc, agentwebhook.Options{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Drain: 2 * time.Second})
	running(t, d.Run)
	c, receiver := w.tenant(), sink.New(t)
	g := &changing{t: t, w: w, methods: map[string]string{}, driven: map[string]bool{}, secrets: []string{c.key, w.operator.key, "hunter2-header", "hunter2-password", "hunter2-token", "hunter2-brought"}}
	for _, o := range operations(t) {
		g.methods[o.ID] = o.method
	}

	made, e := g.do(w.operator, "create-tenant", "/v1/tenants", map[string]any{"name": "another"})
	require.Equal(t, made.text("id"), e["tenant_id"], "an entry about a tenant has its id")
	quota := "/v1/tenants/" + c.tenantID + "/quota"
	g.changed(w.operator, "change-quota", quota, map[string]any{"keys": 70}, "keys", 0, 70)
	g.changed(w.operator, "change-quota", quota, map[string]any{"keys": 80}, "keys", 70, 80)
	g.changed(w.operator, "change-tenant", "/v1/tenants/"+c.tenantID, map[string]any{"alert_addresses": []string{"ops@example.com"}}, "alert_addresses", []any{}, []any{"ops@example.com"})
	g.keys(c)
	hook := g.webhooks(c)
	g.domainsAndAgents(c, func(r map[string]any) { z.set(r["name"].(string), r["value"].(string)) })
	g.eventTypes(c)
	g.deliveries(c, hook, receiver)
	pull := c.do("POST", "/v1/webhooks", map[string]any{"kind": "pull", "events": []string{"email.sent"}}).want(t, 201).text("id")
	polled := c.do("POST", "/v1/webhooks/"+pull+"/test", map[string]any{"type": "email.sent"}).text("id")
	g.do(c, "ack-webhook", "/v1/webhooks/"+pull+"/ack", map[string]any{"delivery_ids": []string{polled}})
	g.do(c, "export-tenant", "/v1/export", nil)
	g.changed(c, "delete-webhook", "/v1/webhooks/"+hook, nil, "id", hook, nil)
	doomed := "/v1/tenants/" + w.tenant().tenantID
	g.do(w.operator, "delete-tenant", doomed, nil)
	g.do(w.operator, "restore-tenant", doomed+"/restore", nil)

	for id, method := range g.methods {
		require.True(t, method == http.MethodGet || g.driven[id], "drive %s", id)
	}
	p := planted{secrets: g.secrets}
	p.notStored(t, w)
	for _, who := range []client{c, w.operator} {
		raw := string(who.do("GET", "/v1/audit?limit=100", nil).want(t, 200).raw)
		for _, s := range g.secrets {
			require.NotContains(t, raw, s)
		}
	}
}

func (g *changing) eventTypes(c client) {
	for _, who := range []client{c, g.w.operator} {
		_, e := g.do(who, "create-event-type", "/v1/event-types", map[string]any{"name": "order.created"})
		require.Equal(g.t, "order.created", e["after"].(map[string]any)["name"])
		of, _ := e["tenant_id"].(string)
		require.Equal(g.t, who.tenantID, of, "what an operator makes is the installation's")
		path := "/v1/event-types/order.created"
		g.changed(who, "change-event-type", path, map[string]any{"description": "An order."}, "description", "", "An order.")
		g.changed(who, "delete-event-type", path, nil, "description", "An order.", nil)
	}
}

func (g *changing) keys(c client) {
	made, e := g.do(c, "create-key", "/v1/keys", map[string]any{"name": "robot"})
	id := made.text("id")
	require.Equal(g.t, id, e["after"].(map[string]any)["id"])
	_, e = g.do(g.w.operator, "rotate-key", "/v1/keys/"+id+"/rotate", nil)
	require.Equal(g.t, c.tenantID, e["tenant_id"], "the tenant sees what an operator does to its key")
	g.changed(g.w.operator, "revoke-key", "/v1/keys/"+id, nil, "name", "robot", nil)
}

// webhooks returns the id of a webhook that stays.
func (g *changing) webhooks(c client) string {
	made, e := g.do(c, "create-webhook", "/v1/webhooks", map[string]any{
		"url": hookURL, "events": []string{"*"}, "headers": map[string]any{"x-api-key": "hunter2-header"},
		"auth": map[string]any{"type": "basic", "username": "user", "password": "hunter2-password"},
	})
	hook := made.text("id")
	require.Equal(g.t, hook, e["after"].(map[string]any)["id"])
	path := "/v1/webhooks/" + hook
	g.changed(c, "change-webhook", path, map[string]any{"description": "new", "auth": map[string]any{"type": "basic", "username": "user", "password": "hunter2-token"}}, "description", "", "new")
	g.changed(c, "rotate-webhook-secret", path+"/rotate-secret", map[string]any{"signing_secret": "hunter2-brought-along-in-a-rotation"}, "id", hook, hook)
	link, _ := g.do(c, "create-portal-link", "/v1/portal-links", map[string]any{"webhook_ids": []string{hook}})
	_, token, _ := strings.Cut(link.text("url"), "/portal/")
	g.secrets = append(g.secrets, token)
	g.changed(c, "revoke-portal-link", "/v1/portal-links/"+link.text("id"), nil, "id", link.text("id"), nil)
	return hook
}

func (g *changing) domainsAndAgents(c client, prove func(record map[string]any)) {
	made, _ := g.do(c, "create-domain", "/v1/domains", map[string]any{"domain": "owner.example"})
	prove(made.json["record"].(map[string]any))
	path := "/v1/domains/owner.example"
	g.changed(c, "verify-domain", path+"/verify", nil, "domain", "owner.example", "owner.example")
	g.changed(c, "delete-domain", path, nil, "domain", "owner.example", nil)
	_, e := g.do(c, "create-agent", "/v1/agents", map[string]any{"address": "Robot@example.com"})
	require.Equal(g.t, "robot@example.com", e["after"].(map[string]any)["address"])
	path = "/v1/agents/" + url.PathEscape("robot@example.com")
	g.changed(c, "change-agent", path, map[string]any{"require_dmarc": true}, "require_dmarc", false, true)
	g.changed(c, "delete-agent", path, nil, "require_dmarc", true, nil)
	refused := g.w.audited(g.t, "change-agent")
	c.do("PATCH", path, map[string]any{"require_dmarc": true}).want(g.t, 404)
	require.Equal(g.t, refused, g.w.audited(g.t, "change-agent"), "a change that fails has no entry")
}

func (g *changing) deliveries(c client, hook string, receiver *sink.Sink) {
	g.do(c, "create-event", "/v1/events", map[string]any{"type": "email.sent", "data": map[string]any{"subject": "own words"}})
	test, _ := g.do(c, "test-webhook", "/v1/webhooks/"+hook+"/test", map[string]any{"type": "email.sent", "data": map[string]any{"subject": "own words"}})
	event := test.text("event_id")
	_, err := g.w.pool.Exec(g.t.Context(), `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'failed', next_retry_at = NULL`)
	require.NoError(g.t, err)
	g.do(c, "retry-delivery", "/v1/deliveries/"+test.text("id")+"/retry", nil)
	g.do(c, "redeliver-event", "/v1/events/"+event+"/redeliver", map[string]any{"webhook_id": hook})
	g.do(c, "retry-webhook-deliveries", "/v1/webhooks/"+hook+"/retry", map[string]any{"since": "2026-01-01T00:00:00Z"})
	window := map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all"}
	g.do(c, "preview-replay", "/v1/replays/preview", window)
	made, e := g.do(c, "create-replay", "/v1/replays", window)
	require.Equal(g.t, made.text("id"), e["after"].(map[string]any)["id"])
	g.changed(c, "cancel-replay", "/v1/replays/"+made.text("id"), nil, "id", made.text("id"), made.text("id"))

	c.do("POST", "/v1/agents", map[string]any{"address": "owner@example.com"}).want(g.t, 201)
	message := insertMessage(g.t.Context(), g.t, g.w, c, event, fmt.Appendf(nil, parcel, "x"))
	path := "/v1/messages/" + message
	require.Eventually(g.t, func() bool { // a dispatcher listens
		return c.do("POST", path+"/deliver", nil).status == 409 // the agent has no webhook
	}, 30*time.Second, 20*time.Millisecond)
	_, err = g.w.pool.Exec(g.t.Context(), `UPDATE fanmail.agents SET webhook_url = $1`, receiver.URL("/a"))
	require.NoError(g.t, err)
	_, err = g.w.pool.Exec(g.t.Context(), `UPDATE fanmail.events SET envelope = convert_to(format('{"type":"email.received","id":"evt_0123456789abcdef0123456789abcdef","created_at":"2026-01-01T00:00:00Z","schema_version":"1","data":{"message_id":"%s","received_at":"2026-01-01T00:00:00Z"}}', $1::text), 'UTF8')`, message)
	require.NoError(g.t, err)
	receiver.Script("/a", sink.FailFirst(1, sink.Answer{Status: 418}))
	g.do(c, "deliver-message", path+"/deliver", nil)
	g.do(c, "retry-message", path+"/retry", nil)
	erased, e := g.do(c, "delete-message", path, nil)
	require.Equal(g.t, message, e["object"])
	require.Equal(g.t, erased.text("id"), e["after"].(map[string]any)["id"])
	erased, e = g.do(c, "create-erasure", "/v1/erasures", map[string]any{"address": "ann@shop.example"})
	require.Equal(g.t, erased.text("id"), e["object"])
	require.NotContains(g.t, fmt.Sprint(e), "ann@", "an entry of an erasure has no address")
	require.NotContains(g.t, string(erased.raw), "ann@")
}
