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
	require.Contains(t, must(t, dir, "", "events", "get", none), "No deliveries: no enabled webhook matched")

	hook := object(t, must(t, dir, "", "webhooks", "create", "--url", receiver.URL("/in"), "--events", "email.sent", "--json"))["id"].(string)
	id := object(t, must(t, dir, `{"n":1}`, "events", "create", "email.sent", "--json"))["id"].(string)
	require.Eventually(t, func() bool {
		ds := object(t, must(t, dir, "", "events", "get", id, "--json"))["deliveries"].([]any)
		return len(ds) == 1 && ds[0].(map[string]any)["status"] == "delivered"
	}, time.Minute, 20*time.Millisecond)
	out := must(t, dir, "", "events", "get", id)
	require.Regexp(t, `(?m)^DELIVERY +WEBHOOK +STATUS +ATTEMPTS +CODE +ERROR +NEXT$`, out)
	require.Regexp(t, `(?m)^\S+ +`+hook+` +delivered +1 +200 +- +-$`, out)
	require.NotContains(t, out, "{\"attempts", "deliveries are no JSON")
}

func TestAKeyForATenantNeedsTheTenantsID(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	out, code := fanmail(t, dir, "", "keys", "create", "--tenant", "acme")
	require.Equal(t, 1, code)
	require.Contains(t, out, "--tenant must be a tenant's id (ten_...)")
	require.Contains(t, out, "fanmail tenants list")
}
