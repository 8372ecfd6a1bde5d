package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestAnEventIsShownWithATableOfItsDeliveries(t *testing.T) {
	t.Parallel()
	dir := up(t)
	receiver := sink.New(t)
	none := object(t, must(t, dir, `{"n":1}`, "events", "create", "email.received", "--json"))["id"].(string)
	require.Contains(t, must(t, dir, "", "events", "get", none), "No deliveries: there is no webhook.")

	hook := object(t, must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.sent", "--json"))["id"].(string)
	id := object(t, must(t, dir, `{"n":1}`, "events", "create", "email.sent", "--json"))["id"].(string)
	require.Eventually(t, func() bool {
		ds := object(t, must(t, dir, "", "events", "get", id, "--json"))["deliveries"].([]any)
		return len(ds) == 1 && ds[0].(map[string]any)["status"] == "delivered"
	}, time.Minute, 20*time.Millisecond)
	out := must(t, dir, "", "events", "get", id)
	require.Regexp(t, `(?m)^DELIVERY +STATUS +CODE +ERROR +ATTEMPTS +NEXT +WEBHOOK$`, out)
	require.Regexp(t, `(?m)^\S+ +delivered +200 +- +1 +- +`+hook+`$`, out)
	require.NotContains(t, out, "{\"attempts", "deliveries are no JSON")
	require.NotContains(t, out, "NOT SENT TO")
	require.Regexp(t, `(?m)^`+hook+` +created_later +The webhook was created after the event\.$`, must(t, dir, "", "events", "get", none))
	other := object(t, must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/other"), "--events", "email.bounced", "--json"))["id"].(string)
	again := object(t, must(t, dir, `{"n":1}`, "events", "create", "email.sent", "--json"))["id"].(string)
	require.Eventually(t, func() bool {
		return len(object(t, must(t, dir, "", "events", "get", again, "--json"))["deliveries"].([]any)) == 1
	}, time.Minute, 20*time.Millisecond)
	require.Regexp(t, `(?m)^`+other+` +type +The webhook does not ask for events of this type\.$`, must(t, dir, "", "events", "get", again))
}

func TestAKeyForATenantNeedsTheTenantsID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, code := fanmail(t, dir, "", "keys", "create", "--tenant", "acme")
	require.Equal(t, 1, code)
	require.Contains(t, out, `--tenant: "acme" is not the id of a tenant (ten_…)`)
	require.Contains(t, out, "fanmail tenants list")
}

func TestEventsAreFound(t *testing.T) {
	t.Parallel()
	dir := up(t)
	create := func(subject string) string {
		return object(t, must(t, dir, `{"from":"Ann <ann@shop.example>","to":"team@corp.example","message_id_header":"`+subject+`@shop.example","subject":"Order `+subject+`"}`,
			"events", "create", "email.received", "--message", "mine-"+subject, "--json"))["id"].(string)
	}
	first, second := create("1"), create("2")
	for _, search := range [][]string{
		{"order 1"}, {"<1@shop.example>"}, {"1@shop.example"}, {"--from", "ann@shop.example", "--subject", "1"}, {"--message", "mine-1"}, {"--message-id", "1@shop.example"}, {first},
	} {
		out := must(t, dir, "", append([]string{"events", "find"}, search...)...)
		require.Contains(t, out, first, search)
		require.NotContains(t, out, second, search)
	}
	for _, search := range [][]string{{"ann@shop.example"}, {"@shop.example"}, {"team@corp.example"}, {"order"}, {}} {
		out := must(t, dir, "", append([]string{"events", "find"}, search...)...)
		require.Contains(t, out, first, search)
		require.Contains(t, out, second, search)
	}
	require.Regexp(t, `(?m)^`+first+` +Order 1 +Ann <ann@shop.example> .* email.received$`, must(t, dir, "", "events", "find", "order 1"))
	require.NotContains(t, must(t, dir, "", "events", "find", "nothing"), "evt_")
	out, code := fanmail(t, dir, "", "events", "find", "order", "--subject", "other")
	require.Equal(t, 1, code)
	require.Contains(t, out, `the search is for subject "order" already`)

	receiver := sink.New(t)
	hook := object(t, must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.sent", "--json"))["id"].(string)
	delivery := object(t, must(t, dir, "", "webhooks", "test", hook, "--json"))["id"].(string)
	require.Contains(t, must(t, dir, "", "events", "find", delivery), delivery)
	require.Regexp(t, `(?m)^`+delivery+` .* `+hook+` `, must(t, dir, "", "deliveries", "list"))
}

func TestTheRequestThatIsShownIsTheOneThatWasSent(t *testing.T) {
	t.Parallel()
	dir := up(t)
	receiver := sink.New(t)
	must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.sent", "--header", "X-Api-Key=very secret")
	must(t, dir, `{"n":1}`, "events", "create", "email.sent")
	require.NoError(t, receiver.WaitForPath(t.Context(), "/in", 1))
	post := receiver.PostsTo("/in")[0]
	var shown map[string]any
	require.Eventually(t, func() bool {
		shown = object(t, must(t, dir, "", "deliveries", "request", post.DeliveryID, "--json"))
		return object(t, must(t, dir, "", "deliveries", "get", post.DeliveryID, "--json"))["status"] == "delivered"
	}, time.Minute, 20*time.Millisecond)
	require.Equal(t, string(post.Body), shown["body"])
	require.Equal(t, receiver.URL("/in"), shown["url"])
	headers := map[string]string{}
	for _, h := range shown["headers"].([]any) {
		headers[h.(map[string]any)["name"].(string)] = h.(map[string]any)["value"].(string)
	}
	for name := range post.Header {
		if name != "Content-Length" && name != "Accept-Encoding" && name != "Traceparent" {
			require.Contains(t, headers, name)
		}
	}
	for name, value := range headers {
		switch name {
		case "Webhook-Signature", "X-E2a-Signature", "Webhook-Timestamp", "X-Api-Key":
			require.Contains(t, post.Header, name)
		default:
			require.Equal(t, post.Header.Get(name), value, name)
		}
	}
	require.Equal(t, "***", headers["X-Api-Key"])
	out := must(t, dir, "", "deliveries", "request", post.DeliveryID)
	require.Contains(t, out, "POST "+receiver.URL("/in")+"\n")
	require.Contains(t, out, "Webhook-Id: "+post.EventID+"\n")
	require.NotContains(t, out, "very secret")
}
