package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

// badTimes are RFC 3339 times that cannot be stored or read again.
var badTimes = []string{"0000-01-01T00:00:00+10:00", "0000-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-10:00"}

func TestEveryTimeOfARequestHasARange(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC, o.JS = nc, js })
	c := w.tenant()
	hook := c.webhook()
	for _, bad := range badTimes {
		in := url.QueryEscape(bad)
		for _, path := range []string{"/v1/events", "/v1/webhooks/" + hook + "/deliveries"} {
			c.do("GET", path+"?since="+in, nil).want(t, 422).names(t, "query.since")
			c.do("GET", path+"?until="+in, nil).want(t, 422).names(t, "query.until")
		}
		c.do("GET", "/v1/events/tail?since="+in, nil).want(t, 422).names(t, "query.since")
		c.do("POST", "/v1/replays", map[string]any{"since": bad, "mode": "all"}).want(t, 422).names(t, "body.since")
		c.do("POST", "/v1/replays", map[string]any{"since": "2020-01-01T00:00:00Z", "until": bad, "mode": "all"}).want(t, 422).names(t, "body.until")
		c.do("POST", "/v1/webhooks/"+hook+"/retry", map[string]any{"since": bad}).want(t, 422).names(t, "body.since")
		c.do("POST", "/v1/webhooks/"+hook+"/retry", map[string]any{"since": "2020-01-01T00:00:00Z", "until": bad}).want(t, 422).names(t, "body.until")
	}
	c.do("GET", "/v1/events?since=yesterday", nil).want(t, 422).names(t, "query.since")
	require.Empty(t, c.do("GET", "/v1/replays", nil).want(t, 200).ids(t, "id"), "no row of a refused request is left")
}

// Every text of a request with a NUL byte, or that is not UTF-8, is refused by its
// name.
func TestEveryTextOfARequestCanBeStored(t *testing.T) {
	t.Parallel()
	nc, js := natstest.Connect(t)
	w := start(t, func(o *api.Options) { o.NC, o.JS = nc, js })
	c := w.tenant()
	hook := c.webhook()
	c.do("POST", "/v1/agents", map[string]any{"address": "a@example.com"}).want(t, 201)
	const nul = "a\x00b"
	filters := func(name string) map[string]any {
		return map[string]any{"url": hookURL, "events": []string{"email.sent"}, "filters": map[string]any{name: []string{"x", nul}}}
	}
	for _, r := range []struct {
		from                   client
		method, path, location string
		body                   map[string]any
	}{
		{w.operator, "POST", "/v1/tenants", "body.name", map[string]any{"name": nul}},
		{c, "POST", "/v1/keys", "body.name", map[string]any{"name": nul}},
		{c, "POST", "/v1/agents", "body.address", map[string]any{"address": nul + "@example.com"}},
		{c, "POST", "/v1/agents", "body.webhook_url", map[string]any{"address": "b@example.com", "webhook_url": "https://example.com/" + nul}},
		{c, "PATCH", "/v1/agents/a@example.com", "body.webhook_url", map[string]any{"webhook_url": "https://example.com/" + nul}},
		{c, "POST", "/v1/webhooks", "body.url", map[string]any{"url": "https://example.com/" + nul, "events": []string{"email.sent"}}},
		{c, "POST", "/v1/webhooks", "body.description", map[string]any{"url": hookURL, "events": []string{"email.sent"}, "description": nul}},
		{c, "POST", "/v1/webhooks", "body.filters.agent_ids[1]", filters("agent_ids")},
		{c, "POST", "/v1/webhooks", "body.filters.conversation_ids[1]", filters("conversation_ids")},
		{c, "POST", "/v1/webhooks", "body.filters.labels[1]", filters("labels")},
		{c, "PATCH", "/v1/webhooks/" + hook, "body.url", map[string]any{"url": "https://example.com/" + nul}},
		{c, "PATCH", "/v1/webhooks/" + hook, "body.description", map[string]any{"description": nul}},
		{c, "PATCH", "/v1/webhooks/" + hook, "body.filters.labels", map[string]any{"filters": map[string]any{"labels": []string{nul}}}},
		{c, "POST", "/v1/replays", "body.agent_ids[0]", map[string]any{"since": "2020-01-01T00:00:00Z", "mode": "all", "agent_ids": []string{nul}}},
		{c, "POST", "/v1/events", "body.agent_id", map[string]any{"type": "email.sent", "data": map[string]any{}, "agent_id": nul}},
		{c, "POST", "/v1/events", "body.conversation_id", map[string]any{"type": "email.sent", "data": map[string]any{}, "conversation_id": nul}},
		{c, "POST", "/v1/events", "body.message_id", map[string]any{"type": "email.sent", "data": map[string]any{}, "message_id": nul}},
		{c, "POST", "/v1/events", "body.labels", map[string]any{"type": "email.sent", "data": map[string]any{}, "labels": []string{nul}}},
		{c, "POST", "/v1/events", "body.idempotency_key", map[string]any{"type": "email.sent", "data": map[string]any{}, "idempotency_key": nul}},
	} {
		r.from.do(r.method, r.path, r.body).want(t, 422).names(t, r.location)
	}
	for _, odd := range []string{"%00", "a%00b@example.com", "%ff%fe", "a%C0%80b"} {
		for _, method := range []string{"GET", "DELETE"} {
			c.do(method, "/v1/agents/"+odd, nil).want(t, 422).names(t, "path.address")
		}
		c.do("PATCH", "/v1/agents/"+odd, map[string]any{"webhook_url": nil}).want(t, 422).names(t, "path.address")
		c.do("GET", "/v1/events?agent_id="+odd, nil).want(t, 422).names(t, "query.agent_id")
		c.do("GET", "/v1/events/tail?agent_id="+odd, nil).want(t, 422).names(t, "query.agent_id[0]")
		for _, list := range []string{"agents", "events", "webhooks", "keys", "replays"} {
			c.do("GET", "/v1/"+list+"?cursor="+odd, nil).want(t, 422).names(t, "query.cursor")
		}
	}
	for _, list := range []string{"agents", "events", "webhooks", "keys", "replays", "webhooks/" + hook + "/deliveries"} {
		c.do("GET", "/v1/"+list, nil).want(t, 200)
	}
}

// What people read is stored in one form; what programs compare stays as it is.
func TestNamesAreNormalised(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	const apart, one = "Rene\u0301", "Ren\u00e9"
	require.Equal(t, one, w.operator.do("POST", "/v1/tenants", map[string]any{"name": apart}).want(t, 201).text("name"))
	require.Equal(t, one, c.do("POST", "/v1/keys", map[string]any{"name": apart}).want(t, 201).text("name"))
	hook := c.webhook("description", apart, "filters", map[string]any{"labels": []string{apart}})
	got := c.do("GET", "/v1/webhooks/"+hook, nil).want(t, 200)
	require.Equal(t, one, got.text("description"))
	require.Equal(t, []any{apart}, got.json["filters"].(map[string]any)["labels"])
	require.Equal(t, one, c.do("PATCH", "/v1/webhooks/"+hook, map[string]any{"description": apart}).want(t, 200).text("description"))
}

func TestAProblemIsShortWhateverTheRequest(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	unknown := map[string]any{}
	for n := range 60_000 {
		unknown[fmt.Sprintf("field_%d", n)] = 1
	}
	long := strings.Repeat("x", 900_000)
	for _, a := range []*answer{
		c.do("POST", "/v1/webhooks", unknown).want(t, 400),
		c.do("POST", "/v1/webhooks", map[string]any{long: 1}).want(t, 422),
		c.do("POST", "/v1/events", unknown).want(t, 422),
		c.do("POST", "/v1/events", map[string]any{long: 1}).want(t, 422),
		c.do("POST", "/v1/events", map[string]any{"type": long, "data": map[string]any{}}).want(t, 422),
		c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{long}}).want(t, 422),
		c.do("POST", "/v1/webhooks", "["+strings.Repeat("1,", 400_000)+"1]").want(t, 400),
		c.do("POST", "/v1/webhooks", `{"events":[`+strings.Repeat(`"x",`, 200_000)+`"x"]}`).want(t, 400),
		c.do("GET", "/v1/webhooks?"+strings.Repeat("y", 20_000)+"=1", nil).want(t, 422),
	} {
		require.Less(t, len(a.raw), 16<<10, "%.300s", a.raw)
		require.NotEmpty(t, a.text("detail"))
	}
	require.Contains(t, string(c.do("POST", "/v1/webhooks", unknown).raw), "has a list or an object with over 10000 entries")
	c.do("POST", "/v1/webhooks", strings.Repeat("]", 200)+strings.Repeat("[", 300)).want(t, 400)
	maps.DeleteFunc(unknown, func(field string, _ any) bool { return len(field) > len("field_9999") })
	require.Len(t, unknown, 10_000)
	a := c.do("POST", "/v1/webhooks", unknown).want(t, 422)
	list := a.json["errors"].([]any)
	require.Len(t, list, 21)
	require.Contains(t, list[20].(map[string]any)["message"], "more errors")
}

func TestJSONNestsABoundedDepth(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	event := func(depth int) string {
		return `{"type":"email.sent","data":` + strings.Repeat(`{"a":`, depth-1) + `{"s":"[[[{{{\"[["}` + strings.Repeat("}", depth-1) + `}`
	}
	require.True(t, json.Valid([]byte(event(100))))
	c.do("POST", "/v1/events", event(100)).want(t, 202)
	c.do("POST", "/v1/events", event(101)).want(t, 422).names(t, "body.data")
	c.do("POST", "/v1/events", event(9_000)).want(t, 422).names(t, "body.data")
	lists := `{"type":"email.sent","data":{"a":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}`
	c.do("POST", "/v1/events", lists).want(t, 422).names(t, "body.data")
	a := c.do("POST", "/v1/webhooks", `{"url":`+strings.Repeat("[", 9_000)+strings.Repeat("]", 9_000)+`}`).want(t, 400)
	require.Contains(t, a.text("detail"), "deeper than 100")
}
