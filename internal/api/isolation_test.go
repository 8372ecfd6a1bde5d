package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
)

// The test reads the routes from the document: it covers a new route without a
// change, and fails if it does not know one of the route's parameters.
func TestAnotherTenantsKeySeesNothingOnAnyRoute(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	owner, stranger := w.tenant(), w.tenant()
	address := "owner@example.com"
	owner.do("POST", "/v1/agents", map[string]any{"address": address}).want(t, 201)
	owner.do("POST", "/v1/domains", map[string]any{"domain": "owner.example"}).want(t, 201)
	owner.do("POST", "/v1/event-types", map[string]any{"name": "secretly.owned"}).want(t, 201)
	hook := owner.webhook()
	test := owner.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202)
	eventID, deliveryID := test.text("event_id"), test.text("id")
	key := owner.do("POST", "/v1/keys", map[string]any{}).want(t, 201).text("id")
	replay := owner.do("POST", "/v1/replays", map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all"}).want(t, 202).text("id")
	message := insertMessage(ctx, t, w, owner, eventID, fmt.Appendf(nil, parcel, "x"))

	erasure := owner.do("POST", "/v1/erasures", map[string]any{"address": "nobody@shop.example"}).want(t, 202).text("id")
	link := owner.do("POST", "/v1/portal-links", map[string]any{"webhook_ids": []string{hook}}).want(t, 201).text("id")
	params := map[string]string{
		"/v1/portal-links/{id}": link,
		"/v1/agents/{address}":  address, "/v1/domains/{domain}": "owner.example", "/v1/event-types/{name}": "secretly.owned", "/v1/webhooks/{id}": hook, "/v1/deliveries/{id}": deliveryID,
		"/v1/tenants/{id}": owner.tenantID,
		"/v1/events/{id}":  eventID, "/v1/keys/{id}": key, "/v1/messages/{id}": message, "/v1/replays/{id}": replay,
		"/v1/erasures/{id}": erasure,
	}
	bodies := map[string]any{
		"create-portal-link":       map[string]any{"webhook_ids": []string{hook}},
		"ack-webhook":              map[string]any{"delivery_ids": []string{deliveryID}},
		"retry-webhook-deliveries": map[string]any{"since": "2026-01-01T00:00:00Z"},
		"create-agent":             map[string]any{"address": address}, "change-agent": map[string]any{"webhook_url": hookURL},
		"change-quota":   map[string]any{"keys": 1},
		"change-tenant":  map[string]any{"alert_addresses": []string{}},
		"change-webhook": map[string]any{"enabled": false}, "change-event-type": map[string]any{"deprecated": true},
		"create-webhook": map[string]any{"url": hookURL, "events": []string{"email.sent"}, "filters": map[string]any{"agent_ids": []string{address}}},
		"create-event":   map[string]any{"type": "email.sent", "data": map[string]any{}, "agent_id": address},
		"create-replay":  map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all", "webhook_id": hook},
		"preview-replay": map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all", "webhook_id": hook},
		"create-key":     map[string]any{"tenant_id": owner.tenantID},
		"create-erasure": map[string]any{"address": "ann"},
	}
	// Routes without an id in their path, with the status for another tenant.
	without := map[string]int{
		"list-audit": 200, "export-tenant": 200, "create-erasure": 422, "list-erasures": 200,
		"create-portal-link": 404, "list-portal-links": 200,
		"create-tenant": 403, "list-tenants": 403, "create-agent": 422, "create-domain": 422, "list-domains": 200, "create-event-type": 422, "list-event-types": 200, "create-webhook": 422, "create-event": 422, "create-key": 404, "create-replay": 404,
		"preview-replay": 404, "get-activity": 200, "get-stats": 200, "tail-events": 503, "list-agents": 200, "list-webhooks": 200, "list-events": 200, "list-all-deliveries": 200, "list-keys": 200, "list-replays": 200,
		"get-operator-stats": 403, "get-operator-top": 403, "get-operator-doctor": 403,
	}
	secretWords := []string{link, address, "secretly.owned", hook, deliveryID, eventID, key, message, replay, erasure, owner.tenantID}

	doc, err := api.OpenAPI()
	require.NoError(t, err)
	var parsed struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(doc, &parsed))
	checked := 0
	for path, item := range parsed.Paths {
		for method, op := range item {
			want, listed := without[op.OperationID]
			url := path
			if before, rest, has := strings.Cut(path, "{"); has {
				require.False(t, listed, op.OperationID)
				name, after, _ := strings.Cut(rest, "}")
				value, known := params[before+"{"+name+"}"]
				require.True(t, known, "this test has no id for %s", path)
				// Other parameters of a path name a part of a message.
				url, want = strings.NewReplacer("{n}", "0", "{field}", "text").Replace(before+value+after), 404
			} else {
				require.True(t, listed, "this test doesn't know %s", op.OperationID)
			}
			body := bodies[op.OperationID]
			if body == nil && (method == "post") && listed {
				body = map[string]any{"name": "x"}
			}
			a := stranger.do(strings.ToUpper(method), url, body)
			require.Equal(t, want, a.status, "%s: %s", op.OperationID, a.raw)
			sent, err := json.Marshal(body)
			require.NoError(t, err)
			for _, word := range secretWords {
				if strings.Contains(string(sent), word) {
					continue // the request's own text
				}
				require.NotContains(t, string(a.raw), word, op.OperationID)
			}
			client{w: w}.do(strings.ToUpper(method), url, body).want(t, 401)
			checked++
		}
	}
	require.Greater(t, checked, 20)

	// Ids of another tenant in a body or a query are not found either.
	stranger.do("POST", "/v1/events/"+stranger.event()+"/redeliver", map[string]any{"webhook_id": hook}).want(t, 404)
	stranger.do("GET", "/v1/activity?webhook_id="+hook, nil).want(t, 404)
	stranger.do("GET", "/v1/keys?tenant_id="+owner.tenantID, nil).want(t, 404)
	require.Empty(t, stranger.do("GET", "/v1/events?agent_id="+address, nil).want(t, 200).ids(t, "id"))

	// The owner still has all of it.
	owner.do("GET", "/v1/agents/"+address, nil).want(t, 200)
	require.Equal(t, true, owner.do("GET", "/v1/webhooks/"+hook, nil).want(t, 200).json["enabled"])
	owner.do("GET", "/v1/messages/"+message, nil).want(t, 200)
	owner.do("GET", "/v1/messages/"+message+"/raw", nil).want(t, 200)
	owner.do("GET", "/v1/messages/"+message+"/attachments/0", nil).want(t, 200)
	owner.do("GET", "/v1/deliveries/"+deliveryID, nil).want(t, 200)
	owner.do("GET", "/v1/events/"+eventID, nil).want(t, 200)
	owner.do("GET", "/v1/replays/"+replay, nil).want(t, 200)
	require.True(t, slices.Contains(owner.do("GET", "/v1/keys", nil).ids(t, "id"), key))
}

// insertMessage inserts the rows that ingest inserts for a mail. It returns the
// message's id.
func insertMessage(ctx context.Context, t *testing.T, w *world, c client, eventID string, raw []byte) string {
	t.Helper()
	message, rawID := events.NewRandom[events.MessageKind](), events.NewRandom[events.MessageKind]()
	_, err := w.pool.Exec(ctx, `WITH e AS (SELECT id, created_at, tenant_id FROM fanmail.events WHERE id = $1 AND tenant_id = $2),
		r AS (INSERT INTO fanmail.message_raws (id, created_at, raw) SELECT $3, created_at, $5 FROM e)
		INSERT INTO fanmail.messages (id, created_at, tenant_id, agent_id, event_id, raw_id, raw_size)
		SELECT $4, created_at, tenant_id, 'owner@example.com', id, $3, $6 FROM e`,
		id[events.EventKind](t, eventID), id[events.TenantKind](t, c.tenantID), rawID, message, raw, len(raw))
	require.NoError(t, err)
	return message.String()
}
