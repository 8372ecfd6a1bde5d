package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

func TestAnErasureIsAskedForByAdministratorsAndShowsNoAddress(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, stranger := w.tenant(), w.tenant()
	message := insertMessage(t.Context(), t, w, c, c.event(), fmt.Appendf(nil, parcel, "x"))
	writer := client{w: w, key: c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"write"}}).want(t, 201).text("secret")}
	const ann = "Ann@shop.example"
	for _, path := range []string{"/v1/erasures", "/v1/messages/" + message} {
		method, body := "POST", any(map[string]any{"address": ann})
		if path != "/v1/erasures" {
			method, body = "DELETE", nil
		}
		writer.do(method, path, body).want(t, 403)
		w.operator.do(method, path, body).want(t, 403)
	}
	stranger.do("DELETE", "/v1/messages/"+message, nil).want(t, 404)
	for _, address := range []string{"", "ann", "@shop.example", "ann@", "Ann <ann@shop.example>", "a@b.example,c@d.example", "*@*", "a@b@c.example", strings.Repeat("a", 250) + "@shop.example", "ann\x00@shop.example"} {
		c.do("POST", "/v1/erasures", map[string]any{"address": address}).want(t, 422).names(t, "body.address")
	}

	asked := c.do("POST", "/v1/erasures", map[string]any{"address": ann}).want(t, 202)
	require.Equal(t, "running", asked.text("state"))
	deleted := c.do("DELETE", "/v1/messages/"+message, nil).want(t, 202)
	require.Equal(t, message, deleted.text("message_id"))
	require.Equal(t, []string{deleted.text("id"), asked.text("id")}, c.do("GET", "/v1/erasures", nil).want(t, 200).ids(t, "id"))
	require.Empty(t, stranger.do("GET", "/v1/erasures", nil).want(t, 200).ids(t, "id"))
	stranger.do("GET", "/v1/erasures?tenant_id="+c.tenantID, nil).want(t, 404)
	require.Len(t, w.operator.do("GET", "/v1/erasures?tenant_id="+c.tenantID, nil).want(t, 200).ids(t, "id"), 2)
	w.operator.do("GET", "/v1/erasures/"+asked.text("id"), nil).want(t, 200)
	for _, a := range []*answer{asked, c.do("GET", "/v1/erasures/"+asked.text("id"), nil), c.do("GET", "/v1/erasures", nil), c.do("GET", "/v1/audit", nil), w.operator.do("GET", "/v1/audit", nil)} {
		require.NotContains(t, strings.ToLower(string(a.raw)), strings.ToLower(ann))
	}

	require.NoError(t, erasure.New(w.pool, erasure.Options{Rows: true}).Round(t.Context()))
	c.do("GET", "/v1/messages/"+message, nil).want(t, 404)
	c.do("DELETE", "/v1/messages/"+message, nil).want(t, 404)
	done := c.do("GET", "/v1/erasures/"+deleted.text("id"), nil).want(t, 200)
	require.EqualValues(t, 1, done.json["removed"].(map[string]any)["messages"])

	_, err := w.pool.Exec(t.Context(), `INSERT INTO fanmail.erasures (id, tenant_id, kind, address, requested_by) SELECT gen_random_uuid(), $1, 'address', 'a@b.example', 'key' FROM generate_series(1, $2)`,
		id[events.TenantKind](t, c.tenantID), erasure.MaxUnfinished)
	require.NoError(t, err)
	require.Contains(t, c.do("POST", "/v1/erasures", map[string]any{"address": ann}).want(t, 409).text("detail"), "1000")
}

// TestADeletedTenantIsRefusedUntilItIsRestored at every door, and then erased.
func TestADeletedTenantIsRefusedUntilItIsRestored(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	path := "/v1/tenants/" + c.tenantID
	c.do("POST", "/v1/agents", map[string]any{"address": "robot@example.com"}).want(t, 201)
	reader := client{w: w, key: w.operator.do("POST", "/v1/keys", map[string]any{"scopes": []string{"write"}}).want(t, 201).text("secret")}
	reader.do("DELETE", path, nil).want(t, 403)
	c.do("DELETE", path, nil).want(t, 403)
	c.do("POST", path+"/restore", nil).want(t, 403)
	other.do("DELETE", path, nil).want(t, 404)
	for _, grace := range []string{"0s", "59s", "721h", "soon", "-1h"} {
		w.operator.do("DELETE", path+"?grace="+grace, nil).want(t, 422).names(t, "query.grace")
	}
	w.operator.do("POST", path+"/restore", nil).want(t, 409)

	asked := w.operator.do("DELETE", path, nil).want(t, 202)
	require.Equal(t, "waiting", asked.text("state"))
	due, err := time.Parse(time.RFC3339, asked.text("due_at"))
	require.NoError(t, err)
	require.InDelta(t, erasure.Grace.Hours(), time.Until(due).Hours(), 1)
	w.operator.do("DELETE", path, nil).want(t, 409)
	c.do("GET", "/v1/webhooks", nil).want(t, 401)
	other.do("GET", "/v1/webhooks", nil).want(t, 200)
	require.NotEmpty(t, w.operator.do("GET", path, nil).want(t, 200).text("deleted_at"))
	w.operator.do("GET", "/v1/events?tenant_id="+c.tenantID, nil).want(t, 200) // an operator still reads
	tenantID := id[events.TenantKind](t, c.tenantID)
	ctx := t.Context()
	_, err = tenancy.OfSubject(ctx, w.pool, "somebody", "somebody", false, tenantID, tenancy.RoleAdmin)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated, "a member")
	agent, _, err := mailbox.FindRoute(ctx, w.pool, "robot@example.com")
	require.NoError(t, err)
	require.True(t, agent.Suspended)

	w.operator.do("POST", path+"/restore", nil).want(t, 200)
	c.do("GET", "/v1/webhooks", nil).want(t, 200)
	agent, _, err = mailbox.FindRoute(ctx, w.pool, "robot@example.com")
	require.NoError(t, err)
	require.False(t, agent.Suspended)
	require.Equal(t, "cancelled", w.operator.do("GET", "/v1/erasures/"+asked.text("id"), nil).want(t, 200).text("state"))
	asked = w.operator.do("DELETE", path+"?grace=1m", nil).want(t, 202)
	var over time.Time
	// The first batch has failed, and is tried again later.
	err = w.pool.QueryRow(ctx, `UPDATE fanmail.erasures SET begins_at = now(), due_at = now() + interval '1 h' WHERE finished_at IS NULL RETURNING begins_at`).Scan(&over)
	require.NoError(t, err)
	refused := w.operator.do("POST", path+"/restore", nil).want(t, 409)
	require.Contains(t, refused.text("detail"), "its grace period was over at "+over.UTC().Format(time.RFC3339))
	require.Equal(t, "running", w.operator.do("GET", "/v1/erasures/"+asked.text("id"), nil).want(t, 200).text("state"))
}

// TestAPortalLinkOfADeletedTenantIsRefused by its token and its id.
func TestAPortalLinkOfADeletedTenantIsRefused(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	link := c.do("POST", "/v1/portal-links", map[string]any{"webhook_ids": []string{c.webhook()}}).want(t, 201)
	_, token, _ := strings.Cut(link.text("url"), "/portal/")
	_, p, err := tenancy.OpenPortal(t.Context(), w.pool, token)
	require.NoError(t, err)
	w.operator.do("DELETE", "/v1/tenants/"+c.tenantID, nil).want(t, 202)
	_, _, err = tenancy.OpenPortal(t.Context(), w.pool, token)
	require.ErrorIs(t, err, tenancy.ErrNoPortal)
	_, err = tenancy.Confirm(t.Context(), w.pool, p)
	require.ErrorIs(t, err, tenancy.ErrUnauthenticated)
}
