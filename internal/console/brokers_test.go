package console_test

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWebhookOfABrokerIsMadeAndChangedByItsForm(t *testing.T) {
	t.Parallel()
	w := start(t)
	b := w.signedIn(w.tenantKey)
	b.get("/webhooks/new").want(http.StatusOK)
	form := url.Values{
		"kind": {"nats"}, "url": {"tls://broker.example.com:4222"}, "subject": {"mail.*"}, "events": {"email.received"}, "auth": {"creds"},
		"credentials": {"-----BEGIN NATS USER JWT-----\nhunter2\n-----BEGIN USER NKEY SEED-----\nhunter2\n"},
	}
	refused := b.post("/webhooks/new", form).want(http.StatusUnprocessableEntity)
	require.NotNil(t, refused.find("p[id=subject-fault]"))
	require.NotContains(t, refused.text, "hunter2", "a refusal shows no secret again")
	form.Set("subject", "mail.in")
	at := b.made(form)
	page := b.get(at).want(http.StatusOK)
	require.Contains(t, words(page.find("dl[id=settings]")), "Kind nats Subject mail.in")
	require.NotContains(t, page.text, "hunter2")
	change := b.get(at + "/edit").want(http.StatusOK).typed(at + "/edit")
	require.Equal(t, "mail.in", change.Get("subject"))
	change.Set("subject", "mail.elsewhere")
	b.post(at+"/edit", change).want(http.StatusSeeOther)
	var out struct {
		Subject string
		Auth    map[string]string
	}
	w.call(w.tenantKey, "GET", "/v1"+at, nil, &out)
	require.Equal(t, "mail.elsewhere", out.Subject)
	require.Equal(t, map[string]string{"type": "creds", "credentials": "***"}, out.Auth)
}
