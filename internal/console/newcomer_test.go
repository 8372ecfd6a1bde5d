package console_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/console"
)

// TestADeliverysLivePartHasTheRequestOfItsLastAttempt: a reader who retries sees the request of the new attempt without a
// reload. Before the first attempt the part stays the same while nothing happens.
func TestADeliverysLivePartHasTheRequestOfItsLastAttempt(t *testing.T) {
	t.Parallel()
	w := start(t)
	hook := w.hook("https://hooks.example.com/in")
	event, _ := w.mail(map[string]any{"subject": "x"}, "x")
	delivery := w.sent(event, hook, "answered 500", "")
	b := w.signedIn(w.tenantKey)
	page := "/deliveries/" + delivery
	require.Contains(t, b.get(page+"?fragment=live").want(http.StatusOK).text, "Fanmail-Attempt: 1")
	require.Len(t, b.get(page).want(http.StatusOK).all("pre[id=request]"), 1)
	about := words(b.get(page).find("dl[id=about]"))
	require.Contains(t, about, "sent again")
	require.NotContains(t, about, "Replay", "nobody asked for one")
	var key events.DeliveryID
	require.NoError(t, key.UnmarshalText([]byte(delivery)))
	set := func(assignment string) {
		_, err := w.pool.Exec(context.Background(), `UPDATE fanmail.webhook_subscriber_deliveries SET `+assignment+` WHERE id = $1`, key)
		require.NoError(t, err)
	}
	set(`attempts = 2`)
	require.Contains(t, b.get(page+"?fragment=live").text, "Fanmail-Attempt: 2")
	set(`attempts = 0, last_attempt_at = NULL, next_retry_at = '2026-01-02T03:04:05Z'`)
	require.Contains(t, b.get(page+"?fragment=live").text, "Webhook-Timestamp: 1767323045", "the time at which it is due, and not that of the look")
}

func TestThePageOfAPolledDeliveryHasNoRequest(t *testing.T) {
	t.Parallel()
	w := start(t)
	var hook, test struct{ ID string }
	w.call(w.tenantKey, "POST", "/v1/webhooks", map[string]any{"kind": "pull", "events": []string{"email.received"}}, &hook)
	w.call(w.tenantKey, "POST", "/v1/webhooks/"+hook.ID+"/test", nil, &test)
	b := w.signedIn(w.tenantKey)
	for _, part := range []string{"", "?fragment=live"} {
		require.Empty(t, b.get("/deliveries/"+test.ID+part).want(http.StatusOK).all("pre[id=request]"))
	}
}

func TestAKeyWithoutARoleIsNotMade(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	b.get("/keys").want(http.StatusOK)
	page := b.post("/keys", url.Values{"name": {"careless"}}).want(http.StatusUnprocessableEntity)
	require.Contains(t, words(page.find("p[id=scopes-fault]")), "choose at least one role")
	require.NotContains(t, b.get("/keys").text, "careless")
}

// TestWhatHasNeverAnsweredIsNotCalledWell: deliveries that wait for their next attempt are in no rate.
func TestWhatHasNeverAnsweredIsNotCalledWell(t *testing.T) {
	t.Parallel()
	w := start(t)
	hook := w.hook("https://hooks.example.com/in")
	event, _ := w.mail(map[string]any{"subject": "x"}, "x")
	b := w.signedIn(w.tenantKey)
	require.NotContains(t, b.get("/").want(http.StatusOK).text, "answer yet", "nothing was sent to it")
	w.sent(event, hook, "the endpoint refused the connection", "")
	overview := b.get("/").want(http.StatusOK)
	require.Contains(t, words(overview.find("dl[id=tiles]")), "1 without an answer yet")
	require.Contains(t, words(overview.find("dl[id=tiles]")), "Failed, 1 h 0 failed attempts 1", "a delivery that is tried again has not ended as failed")
	require.Contains(t, overview.text, "no answer yet")
	require.Contains(t, words(b.get("/webhooks/"+hook).want(http.StatusOK).find("dl[id=tiles]")), "no answer yet")
	var key events.WebhookID
	require.NoError(t, key.UnmarshalText([]byte(hook)))
	_, err := w.pool.Exec(context.Background(), `UPDATE fanmail.webhooks SET last_delivered_at = now() WHERE id = $1`, key)
	require.NoError(t, err)
	overview = b.get("/").want(http.StatusOK)
	require.NotContains(t, overview.text, "answer yet")
	require.Contains(t, overview.text, "need attention", "it answered once, and fails now")
	again, _ := w.mail(map[string]any{"subject": "y"}, "y")
	var answered events.DeliveryID
	require.NoError(t, answered.UnmarshalText([]byte(w.sent(again, hook, "", ""))))
	_, err = w.pool.Exec(context.Background(), `UPDATE fanmail.webhook_subscriber_deliveries SET status = 'delivered', last_status_code = 200, last_error = NULL WHERE id = $1`, answered)
	require.NoError(t, err)
	require.NotContains(t, b.get("/").want(http.StatusOK).text, "need attention", "as many attempts succeed as fail")
}

func TestAHostWithAPortFindsItsWebhook(t *testing.T) {
	t.Parallel()
	w := start(t)
	hook := w.hook("https://hooks.example.com:8443/in")
	w.hook("https://hooks.example.com/other")
	b := w.signedIn(w.tenantKey)
	require.Equal(t, console.Base+"/webhooks/"+hook, b.get("/search?q=hooks.example.com:8443").want(http.StatusSeeOther).header.Get("Location"))
}
