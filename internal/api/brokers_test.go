package api_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"
)

// credsFile is the text of a .creds file, whose JWT and seed no broker takes.
const credsFile = `-----BEGIN NATS USER JWT-----
hunter2.jwt
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
hunter2-seed
------END USER NKEY SEED------
`

// expiredCreds have a JWT that ended in 2001.
var expiredCreds = strings.Replace(credsFile, "hunter2.jwt", "e30."+base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1000000000}`))+".hunter2", 1)

func TestAWebhookPublishesAtABrokerAndItsCredentialsAreSecret(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	creds := map[string]any{"type": "creds", "credentials": credsFile}
	made := c.do("POST", "/v1/webhooks", map[string]any{
		"kind": "nats", "url": "TLS://Broker.example.com:4222", "subject": "mail.in", "events": []string{"email.sent"}, "auth": creds, "timeout": 5, "max_in_flight": 7, "ordering": "strict",
	}).want(t, 201)
	require.Equal(t, "tls://broker.example.com", made.text("url"))
	require.NotEmpty(t, made.text("signing_secret"), "messages are signed as POSTs are")
	path := "/v1/webhooks/" + made.text("id")
	shown := c.do("GET", path, nil).want(t, 200)
	require.Equal(t, "mail.in", shown.text("subject"))
	require.Equal(t, map[string]any{"type": "creds", "credentials": "***"}, shown.json["auth"])
	for _, a := range []*answer{made, shown, c.do("GET", "/v1/audit", nil).want(t, 200)} {
		require.NotContains(t, string(a.raw), "hunter2")
	}
	changed := c.do("PATCH", path, map[string]any{"subject": "mail.elsewhere", "auth": map[string]any{"type": "creds", "credentials": "***"}}).want(t, 200)
	require.Equal(t, "mail.elsewhere", changed.text("subject"))
	c.do("PATCH", path, map[string]any{"url": "tls://thief.example.com"}).want(t, 422).names(t, "body.url")
	c.do("PATCH", path, map[string]any{"url": "tls://moved.example.com", "auth": creds}).want(t, 200)
	test := c.do("POST", path+"/test", nil).want(t, 202)
	request := c.do("GET", "/v1/deliveries/"+test.text("id")+"/request", nil).want(t, 200)
	require.Equal(t, []string{"PUB", "tls://moved.example.com", "mail.elsewhere"}, []string{request.text("method"), request.text("url"), request.text("subject")})
	require.Contains(t, string(request.raw), `"Nats-Msg-Id"`)
	require.NotContains(t, string(request.raw), "Authorization")
	c.do("GET", path+"/poll", nil).want(t, 409)
	key, err := nkeys.CreateUser()
	require.NoError(t, err)
	seed, err := key.Seed()
	require.NoError(t, err)
	c.do("PATCH", path, map[string]any{"auth": map[string]any{"type": "creds", "credentials": string(seed)}}).want(t, 200)

	broker := func(more ...any) map[string]any {
		body := map[string]any{"kind": "nats", "url": "tls://broker.example.com", "subject": "mail.in", "events": []string{"email.sent"}}
		for i := 0; i < len(more); i += 2 {
			if body[more[i].(string)] = more[i+1]; more[i+1] == nil {
				delete(body, more[i].(string))
			}
		}
		return body
	}
	for name, x := range map[string]struct {
		body  map[string]any
		field string
	}{
		"no subject":          {broker("subject", nil), "body.subject"},
		"a wildcard":          {broker("subject", "mail.*"), "body.subject"},
		"an empty part":       {broker("subject", "mail..in"), "body.subject"},
		"a space":             {broker("subject", "mail in"), "body.subject"},
		"JetStream's own":     {broker("subject", "$JS.API.STREAM.DELETE.IN"), "body.subject"},
		"no URL":              {broker("url", nil), "body.url"},
		"a URL of HTTP":       {broker("url", "https://broker.example.com"), "body.url"},
		"a plain broker":      {broker("url", "nats://broker.example.com"), "body.url"},
		"a private broker":    {broker("url", "tls://10.0.0.1:4222"), "body.url"},
		"headers":             {broker("headers", map[string]any{"X-Api-Key": "x"}), "body.headers"},
		"an OAuth 2 token":    {broker("auth", map[string]any{"type": "oauth2", "token_url": "https://x.example.com/", "client_id": "a", "client_secret": "b"}), "body.auth.type"},
		"half of credentials": {broker("auth", map[string]any{"type": "creds", "credentials": "-----BEGIN NATS USER JWT-----"}), "body.auth.credentials"},
		"expired ones":        {broker("auth", map[string]any{"type": "creds", "credentials": expiredCreds}), "body.auth.credentials"},
		"the seed of no user": {broker("auth", map[string]any{"type": "creds", "credentials": "SOABHOJYOWMVPDJXXGLJXVHJQJDLPGYQ6QMVLXJ5Y3PDVDC7NJ4HAXE4SI"}), "body.auth.credentials"},
		"a token":             {broker("auth", map[string]any{"type": "creds", "credentials": "hunter2"}), "body.auth.credentials"},
		"a subject of a POST": {broker("kind", "push", "url", hookURL), "body.subject"},
		"a broker to POST to": {broker("kind", nil, "subject", nil), "body.url"},
		"creds for a POST":    {broker("kind", "push", "url", hookURL, "subject", nil, "auth", creds), "body.auth.type"},
		"a subject to poll":   {broker("kind", "pull", "url", nil), "body.subject"},
	} {
		t.Run(name, func(t *testing.T) {
			a := c.do("POST", "/v1/webhooks", x.body).want(t, 422)
			a.names(t, x.field)
			require.NotContains(t, string(a.raw), "hunter2")
		})
	}
	c.do("PATCH", path, map[string]any{"url": hookURL, "auth": nil}).want(t, 422).names(t, "body.url")
	c.do("PATCH", path, map[string]any{"kind": "push"}).want(t, 422).names(t, "body.kind")
}
