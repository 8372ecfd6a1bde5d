package console_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/console"
)

const hostileName = `<script>alert(1)</script> "&x' {{.}}`

// TestOperatorsSeeTheSystem on each page, with text of strangers that means nothing to the browser.
func TestOperatorsSeeTheSystem(t *testing.T) {
	t.Parallel()
	w := start(t)
	id, key := w.tenant(hostileName)
	_, err := w.pool.Exec(t.Context(), `INSERT INTO fanmail.processes (id, kind, name, version, components, seen) VALUES
		(gen_random_uuid(), 'publisher', $1, $1, '[{"name":"broker","status":"failing","error":"<img src=x onerror=alert(1)>"}]', now()),
		(gen_random_uuid(), 'api', 'well', 'v1', '[]', now()), (gen_random_uuid(), 'api', 'gone', 'v1', '[]', now() - interval '5 minutes')`, hostileName)
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `INSERT INTO fanmail.webhooks (id, tenant_id, url, events, signing_secret) SELECT gen_random_uuid(), id, 'https://hooks.example.com/?"<b>', '{email.received}', '' FROM fanmail.tenants WHERE name = $1`, hostileName)
	require.NoError(t, err)
	_, err = w.pool.Exec(t.Context(), `INSERT INTO fanmail.webhook_subscriber_deliveries (id, created_at, webhook_id, tenant_id, event_id, event_created_at, next_retry_at, expires_at, seq, max_attempts, event_type)
		SELECT gen_random_uuid(), now(), w.id, w.tenant_id, gen_random_uuid(), now(), now() - interval '1 minute', now() + interval '1 day', i, 8, 'email.received' FROM fanmail.webhooks AS w, generate_series(1, 7) AS i`)
	require.NoError(t, err)
	b := w.signedIn(w.operatorKey)
	for _, page := range []string{
		"/operator", "/operator/partitions", "/operator/top", "/operator/top?by=webhook&order=backlog&window=5m", "/operator/top?by=agent",
		"/operator/tenants", "/operator/tenants?q=acme", "/operator/tenants?q=" + url.QueryEscape(hostileName), "/operator/tenants/" + id,
	} {
		d := b.get(page).want(http.StatusOK)
		require.Len(t, d.all("script"), 2, "%s: the layout's own", page)
		require.Empty(t, d.all("img[src=x]"), page)
		require.Len(t, d.all("h1"), 1, page)
		if strings.Contains(d.text, "data-live=") {
			live := b.get(page + map[bool]string{true: "&", false: "?"}[strings.Contains(page, "?")] + "fragment=live").want(http.StatusOK)
			require.NotContains(t, live.text, "<html", page)
		}
	}
	d := b.get("/operator")
	require.Contains(t, words(d.root), "FanmailPartitionsUnowned")
	require.Contains(t, words(d.root), hostileName)
	d = b.get("/operator/top?by=tenant&order=backlog")
	require.Contains(t, words(d.root), hostileName)
	require.Contains(t, words(d.find("table")), " 7 since ")
	require.Contains(t, words(d.root), "Incomplete")
	require.NotNil(t, b.get("/operator/partitions").find("tr[data-key=31]"))
	b.get("/operator/top?by=planet").want(http.StatusUnprocessableEntity)
	b.get("/operator/tenants/ten_x").want(http.StatusUnprocessableEntity)
	b.get("/operator/doctor").want(http.StatusServiceUnavailable)

	// A tenant's key opens none of them.
	b = w.signedIn(key)
	for _, page := range []string{"/operator", "/operator/top", "/operator/partitions", "/operator/tenants", "/operator/doctor"} {
		d := b.get(page)
		require.Equal(t, http.StatusForbidden, d.status, page)
	}
}

// TestOperatorsFindATenantChangeItsQuotaAndViewAsIt by id and by name.
func TestOperatorsFindATenantChangeItsQuotaAndViewAsIt(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.operatorKey)
	require.Equal(t, console.Base+"/operator/tenants/"+w.tenantID, b.get("/operator/tenants?q=+"+w.tenantID).want(http.StatusSeeOther).header.Get("Location"))
	require.Contains(t, words(b.get("/operator/tenants?q=ACM").want(http.StatusOK).find("table")), "acme")
	require.Contains(t, words(b.get("/operator/tenants?q=nobody").want(http.StatusOK).root), "No tenant's name begins with")

	at := "/operator/tenants/" + w.tenantID
	d := b.get(at).want(http.StatusOK)
	require.Empty(t, attribute(d.find("input[name=webhooks]"), "value"), "the server's default")
	b.post(at, url.Values{"webhooks": {"7"}, "agents": {""}}).want(http.StatusSeeOther)
	d = b.get(at)
	require.Equal(t, "7", attribute(d.find("input[name=webhooks]"), "value"))
	require.Empty(t, attribute(d.find("input[name=agents]"), "value"))
	for _, bad := range []string{"0", "x", "-1", "99999999999999999999"} {
		d = b.post(at, url.Values{"webhooks": {bad}}).want(http.StatusUnprocessableEntity)
		require.Equal(t, bad, attribute(d.find("input[name=webhooks]"), "value"), "what was typed stays")
		require.NotNil(t, d.find("p.fault"), bad)
	}
	b.get(at)
	b.post(at, url.Values{"webhooks": {" "}}).want(http.StatusSeeOther)
	require.Empty(t, attribute(b.get(at).find("input[name=webhooks]"), "value"))

	b.get(at)
	b.post(at+"/alerts", url.Values{"alert_addresses": {"ops@example.com\r\noncall@example.com\r\n"}}).want(http.StatusSeeOther)
	require.Equal(t, "ops@example.com oncall@example.com", words(b.get(at).find("textarea[name=alert_addresses]")))
	d = b.post(at+"/alerts", url.Values{"alert_addresses": {"</textarea><b>"}}).want(http.StatusUnprocessableEntity)
	require.Equal(t, "</textarea><b>", words(d.find("textarea[name=alert_addresses]")), "what was typed stays")
	require.Contains(t, words(d.root), "not a plain mail address")
	b.get(at)
	b.post(at+"/alerts", url.Values{"alert_addresses": {""}}).want(http.StatusSeeOther)
	require.Empty(t, words(b.get(at).find("textarea[name=alert_addresses]")))

	b.post("/operator/view", url.Values{"tenant_id": {w.tenantID}}).want(http.StatusSeeOther)
	for _, page := range []string{"/operator", "/operator/top", "/operator/tenants", at} {
		b.get(page).want(http.StatusOK) // they are about all tenants
	}
}

// TestTheDoctorsFindingsArePages with a summary for the first page.
func TestTheDoctorsFindingsArePages(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *console.Options) {
		var err error
		o.API, err = api.NewHandler(api.Options{Pool: o.Pool, Doctor: func(context.Context) []api.Finding {
			return []api.Finding{
				{Check: "clock", Status: "ok", Detail: "agrees"},
				{Check: "DNS", Status: "warn", Detail: "slow"},
				{Check: "broker", Status: "fail", Detail: "is <b>away</b>", Fix: "start NATS"},
			}
		}})
		require.NoError(t, err)
	})
	b := w.signedIn(w.operatorKey)
	d := b.get("/operator/doctor").want(http.StatusOK)
	require.Regexp(t, "broker fail is <b>away</b> start NATS .*DNS warn slow", words(d.root))
	require.Contains(t, words(d.find("dl")), "clock agrees")
	summary := b.get("/operator/doctor?fragment=summary").want(http.StatusOK)
	require.Contains(t, words(summary.root), "start NATS")
	require.NotContains(t, summary.text, "<h1>")
	require.Contains(t, b.get("/operator").text, `hx-get="/console/operator/doctor?fragment=summary"`)
}

// The routes compare the path without its escapes, and so does the door.
func TestAnEscapedPathIsThePageThatItNames(t *testing.T) {
	t.Parallel()
	w := start(t)
	tenant, operator := w.signedIn(w.tenantKey), w.signedIn(w.operatorKey)
	for _, page := range []string{"/operator", "/%6fperator", "/operator/tenants", "/%6Fperator/tenants", "/operato%72/%74op", "/%6f%70erator/nowhere"} {
		d := tenant.get(page).want(http.StatusForbidden)
		require.Contains(t, words(d.root), "This page is for operators.", page)
	}
	operator.get("/%6fperator/tenants").want(http.StatusOK)
	operator.get("/event%2dtypes").want(http.StatusOK)
	require.Equal(t, "/console/operator/tenants", operator.get("/%65vents").want(http.StatusSeeOther).header.Get("Location"))
	operator.get("/live?page=/console/operator%2Ftenants").want(http.StatusBadRequest)
}
