package console_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAnAdministratorErasesInTheConsole a message from the page of its event and its own, and an address.
func TestAnAdministratorErasesInTheConsole(t *testing.T) {
	t.Parallel()
	w := start(t)
	event, message := w.mail(map[string]any{"from": "ann@shop.example"}, "From: ann@shop.example\r\n\r\nHello.\r\n")
	b := w.signedIn(w.tenantKey)
	for _, page := range []string{"/events/" + event, "/messages/" + message} {
		require.NotNil(t, b.get(page).want(http.StatusOK).find("form[action=/console/messages/"+message+"/delete]"), page)
	}
	b.post("/messages/"+message+"/delete", url.Values{}).want(http.StatusSeeOther)
	list := b.get("/erasures").want(http.StatusOK)
	require.Contains(t, words(list.find("table")), "running")
	bad := b.post("/erasures", url.Values{"address": {"ann"}}).want(http.StatusUnprocessableEntity)
	require.Equal(t, "ann", attribute(bad.find("input[id=address]"), "value"), "what was typed stays")
	require.Contains(t, words(bad.find("p[id=address-fault]")), "whole address")
	b.post("/erasures", url.Values{"address": {" ann@shop.example "}}).want(http.StatusSeeOther)
	list = b.get("/erasures").want(http.StatusOK)
	require.Equal(t, 2, strings.Count(list.text, `data-key="era_`))
	require.NotContains(t, list.text, "ann@shop", "an address is not shown")

	var reader struct{ Secret string }
	w.call(w.tenantKey, "POST", "/v1/keys", map[string]any{"scopes": []string{"write"}}, &reader)
	writer := w.signedIn(reader.Secret)
	require.Nil(t, writer.get("/messages/"+message).want(http.StatusOK).find("form[action=/console/messages/"+message+"/delete]"))
	writer.post("/messages/"+message+"/delete", url.Values{}).want(http.StatusForbidden)
	writer.get("/erasures").want(http.StatusForbidden)
	_, other := w.tenant("other")
	stranger := w.signedIn(other)
	stranger.get("/erasures").want(http.StatusOK)
	stranger.post("/messages/"+message+"/delete", url.Values{}).want(http.StatusNotFound)
}

func TestAnOperatorDeletesAndRestoresATenant(t *testing.T) {
	t.Parallel()
	w := start(t)
	id, key := w.tenant("acme")
	member, b := w.signedIn(key), w.signedIn(w.operatorKey)
	path := "/operator/tenants/" + id
	b.get(path).want(http.StatusOK)
	bad := b.post(path+"/delete", url.Values{"grace": {"1s"}}).want(http.StatusUnprocessableEntity)
	require.Contains(t, words(bad.find("p[id=grace-fault]")), "from 1m to 720h")
	b.post(path+"/delete", url.Values{}).want(http.StatusSeeOther)
	require.Contains(t, words(b.get(path).want(http.StatusOK).find("div[class=note]")), "Deleted")
	require.Contains(t, b.get("/operator/tenants").want(http.StatusOK).text, "deleted")
	require.NotEqual(t, http.StatusOK, member.get("/events").status, "a session of its key ends")
	b.get(path)
	b.post(path+"/restore", url.Values{}).want(http.StatusSeeOther)
	require.Nil(t, b.get(path).want(http.StatusOK).find("div[class=note]"))
	require.Equal(t, http.StatusOK, w.signedIn(key).get("/events").status)
}
