package console_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEventTypesAreKeptOnTheirPages(t *testing.T) {
	t.Parallel()
	w := start(t)
	b, o := w.signedIn(w.tenantKey), w.signedIn(w.operatorKey)
	require.Contains(t, b.get("/event-types").want(http.StatusOK).text, "email.received")
	require.Contains(t, b.get("/event-types/email.received").want(http.StatusOK).text, "message_id")
	require.Empty(t, b.get("/event-types/email.received").all("textarea"), "a built-in type has no form")

	typed := url.Values{"name": {"order.created"}, "schema": {`{"required": ["id"]}`}, "sample": {`{"id":`}}
	bad := b.post("/event-types", typed).want(http.StatusUnprocessableEntity)
	require.Contains(t, bad.text, "is not JSON")
	require.Equal(t, `{"id":`, words(bad.find("textarea[id=sample]")), "what was typed is shown again")
	typed.Set("sample", `{}`)
	require.Contains(t, words(b.post("/event-types", typed).want(http.StatusUnprocessableEntity).root), `at /: lacks "id"`)
	typed.Set("sample", `{"id":"<b>1"}`)
	require.Contains(t, b.post("/event-types", typed).want(http.StatusSeeOther).header.Get("Location"), "/event-types/order.created")
	o.get("/event-types").want(http.StatusOK)
	o.post("/event-types", url.Values{"name": {"billing.due"}}).want(http.StatusSeeOther)
	page := b.get("/event-types/order.created").want(http.StatusOK)
	require.Contains(t, words(page.root), `"id": "\u003cb\u003e1"`)
	require.NotContains(t, page.text, "<b>1")
	require.Empty(t, b.get("/event-types/billing.due").want(http.StatusOK).all("textarea"), "the operator's type")
	require.NotEmpty(t, o.get("/event-types/billing.due").want(http.StatusOK).all("textarea"))
	o.get("/event-types/order.created").want(http.StatusNotFound)
	b.post("/event-types/billing.due", url.Values{}).want(http.StatusForbidden)

	hook := url.Values{"url": {"https://hooks.example.com/in"}, "events": {"order.created", "billing.due"}, "patterns": {"ticket.*"}, "ordering": {"none"}}
	form := b.get("/webhooks/new").want(http.StatusOK)
	require.NotEmpty(t, form.all("input[value=order.created]"))
	b.post("/webhooks/new", hook).want(http.StatusOK)
	var found struct {
		Data []struct {
			ID     string
			Events []string
		}
	}
	w.call(w.tenantKey, "GET", "/v1/webhooks", nil, &found)
	require.Equal(t, []string{"order.created", "billing.due", "ticket.*"}, found.Data[0].Events)
	edit := b.get("/webhooks/" + found.Data[0].ID + "/edit").want(http.StatusOK)
	require.Equal(t, "ticket.*", attribute(edit.find("input[id=patterns]"), "value"), "types with a box are not typed too")
	used := b.post("/event-types/order.created/delete", url.Values{})
	require.Contains(t, words(used.root), found.Data[0].ID)

	b.post("/event-types/order.created", url.Values{"description": {"Changed."}, "deprecated": {"1"}}).want(http.StatusSeeOther)
	page = b.get("/event-types/order.created").want(http.StatusOK)
	require.Contains(t, words(page.root), "data is any object")
	require.Contains(t, words(b.get("/event-types").root), "deprecated")
	b.post("/webhooks/"+found.Data[0].ID+"/edit", url.Values{"url": {"https://hooks.example.com/in"}, "patterns": {"order.*"}, "ordering": {"none"}, "max_in_flight": {"10"}}).want(http.StatusSeeOther)
	b.post("/event-types/order.created/delete", url.Values{}).want(http.StatusSeeOther)
	require.NotContains(t, b.get("/event-types").text, "/event-types/order.created")
}
