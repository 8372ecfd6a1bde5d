package console_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestATenantSignsInSeesItsPagesAndSignsOut(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.browser()
	require.Equal(t, "/console/sign-in?next=%2Fevents%3Ftype%3Demail.received", b.get("/events?type=email.received").want(303).header.Get("Location"))
	b.get("/sign-in").want(200)
	require.Equal(t, "/console/events?type=x", b.post("/sign-in", url.Values{"key": {w.tenantKey}, "next": {"/events?type=x"}}).want(303).header.Get("Location"))
	page := b.get("/").want(200)
	require.Equal(t, "Overview", words(page.find("h1")))
	require.Equal(t, "acme · laptop", words(page.find("span.name")))
	b.get("/events").want(200)
	b.get("/operator/tenants").want(403)
	b.get("/nowhere").want(404)
	require.Equal(t, "/console/sign-in", b.post("/sign-out", url.Values{}).want(303).header.Get("Location"))
	b.get("/").want(303)
}

func TestAnOperatorLooksAtATenantAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.operatorKey)
	require.Equal(t, "/console/operator", b.get("/").want(303).header.Get("Location"))
	page := b.get("/operator/tenants").want(200)
	require.Contains(t, page.text, w.tenantID)
	require.Equal(t, http.StatusSeeOther, b.post("/operator/view", url.Values{"tenant_id": {w.tenantID}}).status)
}
