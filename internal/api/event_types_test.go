package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
)

const orderSchema = `{"type":"object","required":["id"],"properties":{"id":{"type":"string"},"lines":{"items":{"properties":{"price":{"type":"number"}}}}}}`

func orderType(name string, more ...any) map[string]any {
	body := map[string]any{"name": name, "description": "An order.", "schema": json.RawMessage(orderSchema), "sample": map[string]any{"id": "o-1"}}
	for i := 0; i < len(more); i += 2 {
		body[more[i].(string)] = more[i+1]
	}
	return body
}

func TestAnEventTypeLivesFromItsCreationToItsDeletion(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	made := c.do("POST", "/v1/event-types", orderType("order.created")).want(t, 201)
	require.Equal(t, "tenant", made.text("source"))
	require.Equal(t, true, made.json["validated"])
	require.Equal(t, map[string]any{"id": "o-1"}, made.json["sample"])
	c.do("POST", "/v1/event-types", orderType("order.created")).want(t, 409).names(t, "body.name")
	read := c.do("GET", "/v1/event-types/order.created", nil).want(t, 200)
	require.JSONEq(t, string(made.raw), string(read.raw))

	path := "/v1/event-types/order.created"
	c.do("PATCH", path, map[string]any{"sample": map[string]any{"id": 1}}).want(t, 422).names(t, "body.sample")
	c.do("PATCH", path, map[string]any{"schema": json.RawMessage(`{"required":["other"]}`)}).want(t, 422).names(t, "body.sample")
	c.do("PATCH", path, map[string]any{"description": nil}).want(t, 422).names(t, "body.description")
	c.do("PATCH", path, map[string]any{"name": "order.paid"}).want(t, 422)
	changed := c.do("PATCH", path, map[string]any{"schema": nil, "deprecated": true, "description": "Changed."}).want(t, 200)
	require.Equal(t, false, changed.json["validated"])
	require.Nil(t, changed.json["schema"])
	require.Equal(t, map[string]any{"id": "o-1"}, changed.json["sample"], "an absent field stays as it is")
	require.Equal(t, true, changed.json["deprecated"])
	c.do("PATCH", path, map[string]any{"sample": nil}).want(t, 200)
	require.Nil(t, c.do("GET", path, nil).want(t, 200).json["sample"])

	hook := c.webhook("events", []string{"order.created", "email.sent"})
	c.webhook("events", []string{"order.*"})
	refused := c.do("DELETE", path, nil).want(t, 409)
	require.Contains(t, refused.text("detail"), "webhooks name the type in their events: "+hook+"; change", "the one that names it, and not the one whose pattern selects it")
	c.do("DELETE", "/v1/webhooks/"+hook, nil).want(t, 204)
	c.do("DELETE", path, nil).want(t, 204)
	c.do("GET", path, nil).want(t, 404)
	c.do("PATCH", path, map[string]any{}).want(t, 404)
	c.do("DELETE", path, nil).want(t, 404)
}

func TestABuiltInTypeIsListedAndStaysAsItIs(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for _, who := range []client{c, w.operator} {
		read := who.do("GET", "/v1/event-types/email.received", nil).want(t, 200)
		require.Equal(t, "built_in", read.text("source"))
		require.NotEmpty(t, read.json["schema"].(map[string]any)["properties"])
		require.NotEmpty(t, read.json["sample"])
		require.Equal(t, false, read.json["validated"])
		require.Contains(t, who.do("PATCH", "/v1/event-types/email.received", map[string]any{"deprecated": true}).want(t, 403).text("detail"), "built in")
		require.Contains(t, who.do("DELETE", "/v1/event-types/email.received", nil).want(t, 403).text("detail"), "built in")
		who.do("POST", "/v1/event-types", orderType("email.received")).want(t, 409).names(t, "body.name")
		require.Len(t, who.do("GET", "/v1/event-types?limit=100", nil).want(t, 200).ids(t, "name"), len(events.Catalogue()))
	}
}

func TestTheFieldsOfATypeAreCheckedWithTheirLimits(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	long := strings.Repeat("x", 65<<10)
	for _, f := range []struct {
		field, want string
		body        map[string]any
	}{
		{"body.name", "begins with email.", orderType("email.eaten")},
		{"body.name", "begins with fanmail.", orderType("fanmail.news")},
		{"body.name", "as character 6", orderType("order created")},
		{"body.name", "needs two parts", orderType("order")},
		{"body.name", "the limit is 100", orderType("order." + strings.Repeat("x", 100))},
		{"body.description", "the limit is 500", orderType("a.b", "description", strings.Repeat("x", 501))},
		{"body.description", "line break", orderType("a.b", "description", "a\nb")},
		{"body.schema", "the limit is 65536", orderType("a.b", "schema", map[string]any{"title": long})},
		{"body.schema", "must be a JSON object", orderType("a.b", "schema", []any{})},
		{"body.schema", "at /type", orderType("a.b", "schema", map[string]any{"type": "strin"})},
		{"body.schema", "a schema may refer to places in itself alone", orderType("a.b", "schema", map[string]any{"$ref": "http://127.0.0.1:1/x"})},
		{"body.sample", "the limit is 65536", orderType("a.b", "sample", map[string]any{"id": long})},
		{"body.sample", "at /: lacks \"id\"", orderType("a.b", "sample", map[string]any{})},
		{"body.sample", "must be a JSON object", orderType("a.b", "sample", "text")},
	} {
		a := c.do("POST", "/v1/event-types", f.body).want(t, 422)
		a.names(t, f.field)
		require.Contains(t, string(a.raw), strings.ReplaceAll(f.want, `"`, `\"`))
	}
	require.Len(t, c.do("GET", "/v1/event-types?limit=100", nil).want(t, 200).ids(t, "name"), len(events.Catalogue()))

	_, err := w.pool.Exec(t.Context(), `INSERT INTO fanmail.event_types (tenant_id, name) SELECT $1, 'many.t' || n FROM generate_series(2, $2) AS n`,
		id[events.TenantKind](t, c.tenantID), eventtype.MaxTypes)
	require.NoError(t, err)
	c.do("POST", "/v1/event-types", orderType("order.created")).want(t, 201)
	a := c.do("POST", "/v1/event-types", orderType("order.paid")).want(t, 409)
	require.Contains(t, a.text("detail"), fmt.Sprintf("there are %d event types, which is the limit", eventtype.MaxTypes))
	w.tenant().do("POST", "/v1/event-types", orderType("order.paid")).want(t, 201)
	w.operator.do("POST", "/v1/event-types", orderType("order.sent")).want(t, 201)

	var all []string
	for cursor := ""; ; {
		p := c.do("GET", "/v1/event-types?limit=100"+cursor, nil).want(t, 200)
		all = append(all, p.ids(t, "name")...)
		next, more := p.json["next_cursor"].(string)
		if !more {
			break
		}
		cursor = "&cursor=" + next
	}
	require.Len(t, all, len(events.Catalogue())+eventtype.MaxTypes+1)
	require.IsIncreasing(t, all)
	require.Equal(t, []string{"order.sent"}, c.do("GET", "/v1/event-types?source=operator", nil).want(t, 200).ids(t, "name"))
	require.Len(t, c.do("GET", "/v1/event-types?source=tenant&limit=100", nil).want(t, 200).ids(t, "name"), 100)
}

func TestATenantSeesItsOwnTypesAndTheOperators(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, b := w.tenant(), w.tenant()
	a.do("POST", "/v1/event-types", orderType("order.created")).want(t, 201)
	w.operator.do("POST", "/v1/event-types", map[string]any{"name": "billing.due", "sample": map[string]any{"of": "all"}}).want(t, 201)

	data := map[string]any{"id": "o-1"}
	event := func(c client, typ string) *answer {
		return c.do("POST", "/v1/events", map[string]any{"type": typ, "data": data})
	}
	event(a, "order.created").want(t, 202)
	event(a, "billing.due").want(t, 202)
	event(b, "billing.due").want(t, 202)
	refused := event(b, "order.created").want(t, 422)
	refused.names(t, "body.type")
	require.Contains(t, refused.text("detail"), "this tenant has no such type")
	b.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.sent", "order.created"}}).want(t, 422).names(t, "body.events[1]")
	b.do("GET", "/v1/event-types/order.created", nil).want(t, 404)
	require.NotContains(t, string(b.do("GET", "/v1/event-types?limit=100", nil).raw), "order.")

	require.Contains(t, a.do("PATCH", "/v1/event-types/billing.due", map[string]any{}).want(t, 403).text("detail"), "the operator's")
	require.Contains(t, a.do("DELETE", "/v1/event-types/billing.due", nil).want(t, 403).text("detail"), "the operator's")
	a.do("POST", "/v1/event-types", orderType("billing.due")).want(t, 409).names(t, "body.name")
	w.operator.do("GET", "/v1/event-types/order.created", nil).want(t, 404)
	w.operator.do("GET", "/v1/event-types/order.created?tenant_id="+a.tenantID, nil).want(t, 200)
	b.do("GET", "/v1/event-types/order.created?tenant_id="+a.tenantID, nil).want(t, 404)

	// A tenant's own counts before one that an operator makes later.
	w.operator.do("POST", "/v1/event-types", map[string]any{"name": "order.created"}).want(t, 201)
	require.Equal(t, "tenant", a.do("GET", "/v1/event-types/order.created", nil).want(t, 200).text("source"))
	require.Equal(t, "operator", b.do("GET", "/v1/event-types/order.created", nil).want(t, 200).text("source"))
	data = map[string]any{"id": 1}
	event(a, "order.created").want(t, 422).names(t, "body.data")
	event(b, "order.created").want(t, 202)
	own := a.webhook("events", []string{"order.created"})
	w.operator.do("DELETE", "/v1/event-types/order.created", nil).want(t, 204)
	shared := b.webhook("events", []string{"billing.due"})
	detail := w.operator.do("DELETE", "/v1/event-types/billing.due", nil).want(t, 409).text("detail")
	require.Contains(t, detail, shared)
	require.NotContains(t, detail, own)
	b.do("DELETE", "/v1/webhooks/"+shared, nil).want(t, 204)
	w.operator.do("DELETE", "/v1/event-types/billing.due", nil).want(t, 204)
	event(b, "billing.due").want(t, 422)
}

func TestTheDataOfAnOwnTypeIsComparedWithItsSchema(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.do("POST", "/v1/event-types", orderType("order.created")).want(t, 201)
	event := func(data string) *answer {
		return c.do("POST", "/v1/events", map[string]any{"type": "order.created", "data": json.RawMessage(data)})
	}
	event(`{"id":"o-1","lines":[{"price":1}]}`).want(t, 202)
	refused := event(`{"id":"o-1","lines":[{"price":1},{"price":"s3cret"}]}`).want(t, 422)
	refused.names(t, "body.data")
	require.Contains(t, refused.text("detail"), "does not fit the schema of order.created: at /lines/1/price: must be number, and is string")
	require.NotContains(t, string(refused.raw), "s3cret")
	// A change counts at once, whatever is compiled.
	c.do("PATCH", "/v1/event-types/order.created", map[string]any{"schema": map[string]any{"required": []string{"id", "total"}}, "sample": nil}).want(t, 200)
	event(`{"id":"o-1"}`).want(t, 422)
	c.do("PATCH", "/v1/event-types/order.created", map[string]any{"schema": nil}).want(t, 200)
	event(`{"anything":1}`).want(t, 202)
	var n int
	require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT count(*) FROM fanmail.outbox`).Scan(&n))
	require.Equal(t, 2, n, "a refused event is not in the outbox")
	require.Len(t, c.do("GET", "/v1/events?type=order.created", nil).want(t, 200).ids(t, "id"), 2)
	c.do("DELETE", "/v1/event-types/order.created", nil).want(t, 204)
	require.Len(t, c.do("GET", "/v1/events?type=order.created", nil).want(t, 200).ids(t, "id"), 2, "events of a deleted type are found")
	c.do("GET", "/v1/events?type=email.eaten", nil).want(t, 422).names(t, "query.type")
	c.do("GET", "/v1/deliveries?event_type=nothing", nil).want(t, 422).names(t, "query.event_type")
}

func TestAWebhookAsksForOwnTypesAndPatterns(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.do("POST", "/v1/event-types", orderType("order.created")).want(t, 201)
	c.do("POST", "/v1/event-types", map[string]any{"name": "order.paid"}).want(t, 201)
	for _, bad := range []string{"order.*.x", "order*", "*.created", "email.eaten.*", "ORDER.*", "order.cancelled", "email.eaten", "nothing"} {
		c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.sent", bad}}).want(t, 422).names(t, "body.events[1]")
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("t%d.*", i)
	}
	a := c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": many}).want(t, 422)
	a.names(t, "body.events")
	require.Contains(t, a.text("detail"), "the limit is 100")

	hook := c.webhook("events", []string{"order.*", "tocome.*"})
	test := func(hook string, body any) *answer { return c.do("POST", "/v1/webhooks/"+hook+"/test", body) }
	sent := test(hook, map[string]any{"type": "order.created"}).want(t, 202)
	event := c.do("GET", "/v1/events/"+sent.text("event_id"), nil).want(t, 200)
	require.Equal(t, map[string]any{"id": "o-1", "test": true}, event.json["envelope"].(map[string]any)["data"], "the type's sample")
	sent = test(hook, map[string]any{"type": "order.paid"}).want(t, 202)
	require.Contains(t, string(c.do("GET", "/v1/events/"+sent.text("event_id"), nil).want(t, 200).raw), "A test of this webhook", "a type without a sample")
	require.Equal(t, "order.created", test(hook, nil).want(t, 202).text("event_type"), "the first that the first pattern selects")
	test(hook, map[string]any{"type": "email.sent"}).want(t, 422).names(t, "body.type")
	test(hook, map[string]any{"type": "tocome.one"}).want(t, 422).names(t, "body.type")
	test(hook, map[string]any{"type": "order.*"}).want(t, 422).names(t, "body.type")
	later := c.webhook("events", []string{"tocome.*"})
	require.Contains(t, test(later, nil).want(t, 422).text("detail"), "there is no type yet")
	c.do("PATCH", "/v1/webhooks/"+later, map[string]any{"events": []string{"order.created", "tocome.one"}}).want(t, 422).names(t, "body.events[1]")
	c.do("PATCH", "/v1/webhooks/"+later, map[string]any{"events": []string{"order.created"}}).want(t, 200)

	window := map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all", "types": []string{"order.*"}}
	made := c.do("POST", "/v1/replays", window).want(t, 202)
	require.Equal(t, []any{"order.*"}, made.json["types"])
	window["types"] = []string{"order.*", "order.*.x"}
	c.do("POST", "/v1/replays/preview", window).want(t, 422).names(t, "body.types[1]")
}

// TestAPreviewCountsByPattern counts what a replay by a pattern would send.
func TestAPreviewCountsByPattern(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.webhook("events", []string{"*"})
	for _, name := range []string{"order.created", "order.line.added", "ticket.opened"} {
		c.do("POST", "/v1/event-types", map[string]any{"name": name}).want(t, 201)
		c.do("POST", "/v1/events", map[string]any{"type": name, "data": map[string]any{}}).want(t, 202)
	}
	for pattern, want := range map[string]int{"order.*": 2, "order.line.*": 1, "*": 3, "ticket.opened": 1, "none.*": 0} {
		p := c.do("POST", "/v1/replays/preview", map[string]any{"since": "2026-01-01T00:00:00Z", "mode": "all", "types": []string{pattern}}).want(t, 200)
		require.EqualValues(t, want, p.json["deliveries"], pattern)
	}
}
