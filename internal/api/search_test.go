package api_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/subscribers"
)

func TestEventsAreFoundByWhatTheirMailSays(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, stranger := w.tenant(), w.tenant()
	mail := func(c client, n int) string {
		return c.do("POST", "/v1/events", fmt.Sprintf(`{"type":"email.received","message_id":"mine %d","data":{"message_id_header":"%d@shop.example",
			"from":[{"name":"Ann","address":"ann@shop.example"}],"to":["Team <team@corp.example>"],"subject":"Order %d"}}`, n, n, n)).want(t, 202).text("id")
	}
	first, second := mail(c, 1), mail(c, 2)
	foreign := mail(stranger, 1)
	find := func(c client, query string) []string {
		a := c.do("GET", "/v1/events?"+query, nil).want(t, 200)
		require.Contains(t, a.json, "searched_until")
		return a.ids(t, "id")
	}
	for query, want := range map[string][]string{
		"message_id=mine+1": {first},
		"message_id_header=" + url.QueryEscape("<2@shop.example>"):                     {second},
		"message_id_header=2@shop.example&subject=order":                               {second},
		"message_id_header=2@shop.example&subject=other":                               {},
		"from=ANN@shop.example":                                                        {second, first},
		"to=team@corp.example&subject=order+1":                                         {first},
		"subject=" + url.QueryEscape("ORDER"):                                          {second, first},
		"subject=order&type=email.sent":                                                {},
		"subject=order&until=" + time.Now().UTC().Add(-time.Hour).Format(time.RFC3339): {},
	} {
		require.Equal(t, want, find(c, query), query)
	}
	require.Equal(t, []string{foreign}, find(stranger, "subject=order"))

	require.NotContains(t, c.do("GET", "/v1/events", nil).want(t, 200).json["data"].([]any)[0], "mail")
	shown := c.do("GET", "/v1/events?mail=true", nil).want(t, 200).json["data"].([]any)[0].(map[string]any)
	require.Equal(t, map[string]any{"from": "Ann <ann@shop.example>", "subject": "Order 2"}, shown["mail"])

	page := c.do("GET", "/v1/events?subject=order&limit=1", nil).want(t, 200)
	require.Equal(t, []string{second}, page.ids(t, "id"))
	require.NotEmpty(t, page.text("searched_until"))
	page = c.do("GET", "/v1/events?subject=order&limit=1&cursor="+page.text("next_cursor"), nil).want(t, 200)
	require.Equal(t, []string{first}, page.ids(t, "id"))
	require.Nil(t, page.json["searched_until"], "all was searched")

	for _, name := range []string{"message_id", "message_id_header", "from", "to", "subject"} {
		c.do("GET", "/v1/events?"+name+"=%00", nil).want(t, 422).names(t, "query."+name)
		c.do("GET", "/v1/events?"+name+"="+strings.Repeat("x", 999), nil).want(t, 422).names(t, "query."+name)
	}
}

func TestTheDeliveriesOfAllWebhooksAreOneList(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, stranger := w.tenant(), w.tenant()
	require.Empty(t, c.do("GET", "/v1/deliveries", nil).ids(t, "id"))
	hooks := []string{c.webhook(), c.webhook()}
	stranger.do("POST", "/v1/webhooks/"+stranger.webhook()+"/test", nil).want(t, 202)
	var all []string
	for i := range 6 {
		all = append([]string{c.do("POST", "/v1/webhooks/"+hooks[i%2]+"/test", nil).want(t, 202).text("id")}, all...)
	}
	require.Equal(t, all, c.do("GET", "/v1/deliveries", nil).ids(t, "id"))
	require.Equal(t, all, pages(t, c, "/v1/deliveries?status=pending", "id", 2, func() {}))
	require.Equal(t, []string{all[1], all[3], all[5]}, c.do("GET", "/v1/deliveries?webhook_id="+hooks[0], nil).ids(t, "id"))
	require.Empty(t, c.do("GET", "/v1/deliveries?status=failed", nil).ids(t, "id"))
	require.Empty(t, c.do("GET", "/v1/deliveries?event_type=email.sent", nil).ids(t, "id"))
	require.Empty(t, c.do("GET", "/v1/deliveries?until=2026-01-01T00:00:00Z", nil).ids(t, "id"))
	c.do("DELETE", "/v1/webhooks/"+hooks[0], nil).want(t, 204)
	require.Equal(t, all, c.do("GET", "/v1/deliveries", nil).ids(t, "id"), "those of a deleted webhook too")
	c.do("GET", "/v1/deliveries?webhook_id="+c.tenantID, nil).want(t, 422).names(t, "query.webhook_id")
	stranger.do("GET", "/v1/deliveries?webhook_id="+hooks[1], nil).want(t, 404)
}

func TestAnEventSaysToWhichWebhooksItWent(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, stranger := w.tenant(), w.tenant()
	early := c.webhook()
	event := c.event()
	late := c.webhook()
	path := "/v1/events/" + event
	require.Equal(t, "waiting", c.do("GET", path, nil).want(t, 200).json["fan_out"].(map[string]any)["state"])
	for _, row := range c.do("GET", path+"/matches", nil).want(t, 200).json["data"].([]any) {
		require.Equal(t, "waiting", row.(map[string]any)["reason"])
	}
	_, err := w.pool.Exec(t.Context(), `DELETE FROM fanmail.outbox`)
	require.NoError(t, err)
	require.Equal(t, "done", c.do("GET", path, nil).want(t, 200).json["fan_out"].(map[string]any)["state"])
	a := c.do("GET", path+"/matches", nil).want(t, 200)
	require.Equal(t, []string{late, early}, a.ids(t, "webhook_id"))
	rows := a.json["data"].([]any)
	require.Equal(t, "created_later", rows[0].(map[string]any)["reason"])
	require.Equal(t, "The webhook was created after the event.", rows[0].(map[string]any)["text"])
	require.Equal(t, []string{late, early}, pages(t, c, path+"/matches", "webhook_id", 1, func() {}))
	stranger.do("GET", path+"/matches", nil).want(t, 404)

	// A filter on data says which condition keeps the event back.
	filtered := c.webhook("filters", map[string]any{"data": map[string]any{"n": 1, "nowhere": map[string]any{"gte": 5}}})
	_, err = w.pool.Exec(t.Context(), `UPDATE fanmail.webhooks SET created_at = now() - interval '1 day' WHERE filter_data IS NOT NULL`)
	require.NoError(t, err)
	for _, row := range c.do("GET", path+"/matches", nil).want(t, 200).json["data"].([]any) {
		row := row.(map[string]any)
		if row["webhook_id"] != filtered {
			require.Nil(t, row["condition"])
			continue
		}
		require.Equal(t, "data", row["reason"])
		require.Contains(t, []any{`{"n":1}`, `{"nowhere":{"gte":5}}`}, row["condition"])
		require.Equal(t, "The webhook's filter data has a condition that the event does not meet: "+row["condition"].(string), row["text"])
	}

	test := c.do("POST", "/v1/webhooks/"+early+"/test", nil).want(t, 202).text("event_id")
	for _, row := range c.do("GET", "/v1/events/"+test+"/matches", nil).want(t, 200).json["data"].([]any) {
		require.Equal(t, "test", row.(map[string]any)["reason"])
	}
}

func TestTheDocumentNamesEveryReasonOfAMatch(t *testing.T) {
	t.Parallel()
	text, err := api.OpenAPI()
	require.NoError(t, err)
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct {
					Enum []any `json:"enum"`
				} `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	require.NoError(t, json.Unmarshal(text, &doc))
	var named []string
	for _, v := range doc.Components.Schemas["Match"].Properties["reason"].Enum {
		if s, ok := v.(string); ok {
			named = append(named, s)
		}
	}
	require.Equal(t, subscribers.Reasons(), named)
}
