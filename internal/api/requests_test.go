package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheRequestOfADeliveryIsShownWithoutSecrets(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, stranger := w.tenant(), w.tenant()
	hook := c.webhook("headers", map[string]string{"X-Api-Key": "very secret"}, "auth", map[string]any{"type": "basic", "username": "me", "password": "very secret"})
	d := c.do("POST", "/v1/webhooks/"+hook+"/test", nil).want(t, 202)
	path := "/v1/deliveries/" + d.text("id") + "/request"
	a := c.do("GET", path, nil).want(t, 200)
	require.Equal(t, "POST", a.text("method"))
	require.Equal(t, hookURL, a.text("url"))
	require.Contains(t, a.text("body"), `"id":"`+d.text("event_id")+`"`)
	require.NotContains(t, string(a.raw), "very secret")
	headers := map[string]string{}
	for _, h := range a.json["headers"].([]any) {
		headers[h.(map[string]any)["name"].(string)] = h.(map[string]any)["value"].(string)
	}
	for name, want := range map[string]string{
		"Webhook-Id": d.text("event_id"), "Fanmail-Delivery-Id": d.text("id"), "Fanmail-Attempt": "1", "Content-Type": "application/json",
		"Webhook-Signature": "v1,…", "X-Api-Key": "***", "Authorization": "Basic ***", "User-Agent": "Fanmail/1 (webhooks)",
	} {
		require.Equal(t, want, headers[name], name)
	}
	stranger.do("GET", path, nil).want(t, 404)
	c.do("DELETE", "/v1/webhooks/"+hook, nil).want(t, 204)
	a = c.do("GET", path, nil).want(t, 200)
	require.Equal(t, true, a.json["webhook_deleted"])
	require.NotContains(t, string(a.raw), "X-Api-Key")
}
