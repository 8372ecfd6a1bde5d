package api_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

func pemOf(t *testing.T) (cert, key, ca string) {
	t.Helper()
	f := tlstest.In(t.TempDir(), "client")
	tlstest.New(t).Write(f, 42)
	read := func(path string) string {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(b)
	}
	return read(f.Cert), read(f.Key), read(f.CA)
}

func TestNoReadShowsASecretOfAWebhook(t *testing.T) {
	t.Parallel()
	c := start(t).tenant()
	cert, key, ca := pemOf(t)
	for _, auth := range []map[string]any{
		{"type": "basic", "username": "user", "password": "hunter2-password"},
		{"type": "oauth2", "token_url": " HTTPS://Tokens.example.com:443/t ", "client_id": "me", "client_secret": "hunter2-client", "scopes": []string{"a"}},
		{"type": "mtls", "certificate": cert, "private_key": key},
	} {
		made := c.do("POST", "/v1/webhooks", map[string]any{
			"url": hookURL, "events": []string{"*"}, "headers": map[string]any{"x-api-key": "hunter2-header"}, "auth": auth, "ca": ca,
			"ed25519": true, "timeout": 30, "signing_secret": "hunter2-brought-along",
			"retry": map[string]any{"type": "list", "delays": []string{"60s", "90m"}, "final": []int{422}, "jitter": 0},
		}).want(t, 201)
		require.Equal(t, "hunter2-brought-along", made.text("signing_secret"))
		path := "/v1/webhooks/" + made.text("id")
		rotated := c.do("POST", path+"/rotate-secret", map[string]any{"signing_secret": "hunter2-second-one"}).want(t, 200)
		require.Equal(t, "hunter2-second-one", rotated.text("signing_secret"))
		body := strings.TrimSpace(string(made.raw))
		reads := []string{strings.Replace(body, "hunter2-brought-along", "", 1)}
		reads = append(reads, string(c.do("PATCH", path, map[string]any{"description": "x", "headers": map[string]any{"X-Api-Key": "***", "X-More": "hunter2-more"}}).want(t, 200).raw))
		test := c.do("POST", path+"/test", nil).want(t, 202)
		for _, p := range []string{path, "/v1/webhooks", path + "/deliveries", "/v1/deliveries/" + test.text("id"), "/v1/events/" + test.text("event_id"), "/v1/stats"} {
			reads = append(reads, string(c.do("GET", p, nil).want(t, 200).raw))
		}
		for _, text := range reads {
			require.NotContains(t, text, "hunter2")
			require.NotContains(t, text, signature.PrivatePrefix)
			require.NotContains(t, text, "PRIVATE KEY")
		}
		w := c.do("GET", path, nil).want(t, 200).json
		require.Equal(t, map[string]any{"X-Api-Key": "***", "X-More": "***"}, w["headers"])
		require.Equal(t, []any{"*"}, w["events"])
		require.EqualValues(t, 30, w["timeout"])
		require.Equal(t, map[string]any{"type": "list", "delays": []any{"1m", "1h30m"}, "final": []any{422.0}, "jitter": 0.0}, w["retry"])
		require.True(t, strings.HasPrefix(w["public_key"].(string), signature.PublicPrefix))
		shown := w["auth"].(map[string]any)
		require.Equal(t, auth["type"], shown["type"])
		if auth["type"] == "oauth2" {
			require.Equal(t, "https://tokens.example.com/t", shown["token_url"], "normalized like the url of a webhook")
		}
	}
}

func TestNullClearsASetting(t *testing.T) {
	t.Parallel()
	c := start(t).tenant()
	_, _, ca := pemOf(t)
	id := c.webhook("headers", map[string]any{"X-Api-Key": "k"}, "auth", map[string]any{"type": "basic", "username": "u", "password": "p"}, "ca", ca,
		"ed25519", true, "timeout", 3, "retry", map[string]any{"type": "exponential", "initial": "10s", "factor": 3, "max": "1h", "attempts": 5})
	cleared := map[string]any{"headers": nil, "auth": nil, "ca": nil, "ed25519": nil, "timeout": nil, "retry": nil}
	left := map[string]any{"headers": map[string]any{}, "auth": nil, "ca": nil, "ed25519": false, "timeout": 15.0, "retry": nil}
	for name := range cleared {
		before := c.do("GET", "/v1/webhooks/"+id, nil).want(t, 200).json
		require.NotEqual(t, left[name], before[name], name)
		after := c.do("PATCH", "/v1/webhooks/"+id, map[string]any{name: nil}).want(t, 200).json
		require.Equal(t, left[name], after[name], name)
		for other := range cleared {
			if other != name {
				require.Equal(t, before[other], after[other], "clearing %s leaves %s", name, other)
			}
		}
	}
}

func TestABadSettingOfAWebhookIsNamedWithItsLimit(t *testing.T) {
	t.Parallel()
	c := start(t).tenant()
	cert, key, _ := pemOf(t)
	_, otherKey, _ := pemOf(t)
	slow, slowKey := largeRSA(t, 2203, 2281)
	slowCA, _ := largeRSA(t, 4253, 4423)
	many := map[string]any{}
	for _, r := range "abcdefghijklmnopqrstu" {
		many["X-"+string(r)] = "v"
	}
	headers := func(name, value string) map[string]any {
		return map[string]any{"headers": map[string]any{name: value}}
	}
	auth := func(pairs ...any) map[string]any {
		a := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			a[pairs[i].(string)] = pairs[i+1]
		}
		return map[string]any{"auth": a}
	}
	retry := func(pairs ...any) map[string]any { return map[string]any{"retry": auth(pairs...)["auth"]} }
	for _, bad := range []struct {
		set      map[string]any
		location string
		names    string
	}{
		{headers("content-TYPE", "hunter2"), "body.headers", "Content-Type"},
		{headers("User-agent", "hunter2"), "body.headers", "sets itself"},
		{headers("Webhook-Id", "hunter2"), "body.headers", "sets itself"},
		{headers("webhook_SIGNATURE", "hunter2"), "body.headers", "sets itself"},
		{headers("X_E2A_Signature", "hunter2"), "body.headers", "sets itself"},
		{headers("transfer_encoding", "chunked"), "body.headers", "concerns the connection"},
		{headers("X-E2A-Anything", "hunter2"), "body.headers", "sets itself"},
		{headers("host", "hunter2"), "body.headers", "sets itself"},
		{headers("traceparent", "hunter2"), "body.headers", "sets itself"},
		{headers("Transfer-Encoding", "chunked"), "body.headers", "concerns the connection"},
		{headers("Proxy-Authorization", "hunter2"), "body.headers", "concerns the connection"},
		{headers("X Bad", "hunter2"), "body.headers", "no valid name"},
		{headers("X-A", "hunter2\r\nX-B: 1"), "body.headers", "line break"},
		{headers("X-A", ""), "body.headers", "no value"},
		{headers("X-A", "***"), "body.headers", "none is stored"},
		{headers("X-A", strings.Repeat("x", 5000)), "body.headers", "4096"},
		{map[string]any{"headers": many}, "body.headers", "20"},
		{map[string]any{"headers": map[string]any{"Authorization": "hunter2"}, "auth": map[string]any{"type": "basic", "username": "u", "password": "p"}}, "body.headers", "Authorization"},
		{auth("type", "digest"), "body.auth.type", "basic"},
		{auth("type", "basic", "username", "a:b", "password", "hunter2"), "body.auth.username", "colon"},
		{auth("type", "basic", "username", "a", "client_secret", "hunter2"), "body.auth.client_secret", "oauth2"},
		{auth("type", "oauth2", "token_url", "https://127.0.0.1/t", "client_id", "c", "client_secret", "hunter2"), "body.auth.token_url", "not public"},
		{auth("type", "oauth2", "token_url", "http://example.com/t", "client_id", "c", "client_secret", "hunter2"), "body.auth.token_url", "https"},
		{auth("type", "oauth2", "token_url", "https://example.com/t", "client_id", "c"), "body.auth.client_secret", "required"},
		{auth("type", "mtls", "certificate", cert, "private_key", otherKey), "body.auth.private_key", "does not belong"},
		{auth("type", "mtls", "certificate", "hunter2", "private_key", key), "body.auth.certificate", "PEM"},
		{auth("type", "mtls", "certificate", slow, "private_key", slowKey), "body.auth.private_key", "4096"},
		{auth("type", "mtls", "certificate", cert, "private_key", key+strings.Repeat("\n", 8<<10)), "body.auth.private_key", "8192"},
		{map[string]any{"ca": slowCA}, "body.ca", "8192"},
		{map[string]any{"ca": key}, "body.ca", "not a certificate"},
		{map[string]any{"timeout": 31}, "body.timeout", "30"},
		{map[string]any{"signing_secret": "hunter2"}, "body.signing_secret", "16"},
		{map[string]any{"signing_secret": strings.Repeat("x", 201)}, "body.signing_secret", "200"},
		{map[string]any{"signing_secret": "whsec_hunter2-is-no-base64"}, "body.signing_secret", "base64"},
		{retry("type", "list", "delays", []string{"1m", "25h"}), "body.retry.delays[1]", "24h"},
		{retry("type", "list", "delays", []string{"soon"}), "body.retry.delays[0]", "duration"},
		{retry("type", "exponential", "initial", "1s", "factor", 2, "max", "1h", "attempts", 31), "body.retry.attempts", "30"},
		{retry("type", "exponential", "initial", "1h", "factor", 0.5, "max", "2h", "attempts", 3), "body.retry.factor", "from 1 to 100"},
		{retry("type", "exponential", "initial", "24h", "factor", 1, "max", "24h", "attempts", 30), "body.retry.attempts", "672h"},
		{retry("type", "list", "final", []int{200}), "body.retry.final[0]", "300 to 599"},
		{retry("type", "list", "jitter", 0.6), "body.retry.jitter", "0.5"},
	} {
		body := map[string]any{"url": hookURL, "events": []string{"email.received"}}
		for name, v := range bad.set {
			body[name] = v
		}
		a := c.do(http.MethodPost, "/v1/webhooks", body).want(t, 422)
		a.names(t, bad.location)
		require.Contains(t, string(a.raw), bad.names)
		require.NotContains(t, string(a.raw), "hunter2")
	}
}

func TestAStoredSecretIsNotSentToAnotherOrigin(t *testing.T) {
	t.Parallel()
	c := start(t, func(o *api.Options) { o.Limits.AllowHTTP = true }).tenant()
	cert, key, _ := pemOf(t)
	basic := map[string]any{"type": "basic", "username": "u", "password": "hunter2"}
	oauth := map[string]any{"type": "oauth2", "token_url": "https://tokens.example.com/t", "client_id": "me", "client_secret": "hunter2"}
	mtls := map[string]any{"type": "mtls", "certificate": cert, "private_key": key}
	but := func(m map[string]any, name string, value any) map[string]any {
		m = maps.Clone(m)
		m[name] = value
		return m
	}
	secret := map[string]any{"X-Secret": "hunter2"}
	type change = map[string]any
	const away = "https://away.example.com/"
	for name, of := range map[string]struct {
		headers, auth, change change
		names                 string // "": the change is accepted
	}{
		"headers stay":                   {secret, nil, change{}, "headers"},
		"headers are masked":             {secret, nil, change{"headers": change{"x-secret": "***", "X-New": "n"}}, "headers"},
		"headers anew":                   {secret, nil, change{"headers": change{"X-Secret": "n"}}, ""},
		"headers cleared":                {secret, nil, change{"headers": nil}, ""},
		"a password stays":               {nil, basic, change{}, "auth.password"},
		"a password is masked":           {nil, basic, change{"auth": but(basic, "password", "***")}, "auth.password"},
		"a password anew":                {nil, basic, change{"auth": but(basic, "password", "n")}, ""},
		"a password cleared":             {nil, basic, change{"auth": nil}, ""},
		"a password becomes a key":       {nil, basic, change{"auth": mtls}, ""},
		"a client secret stays":          {nil, oauth, change{}, "auth.client_secret"},
		"a client secret is masked":      {nil, oauth, change{"auth": but(oauth, "client_secret", "***")}, "auth.client_secret"},
		"a client secret anew":           {nil, oauth, change{"auth": but(oauth, "client_secret", "n")}, ""},
		"headers anew, a password stays": {secret, basic, change{"headers": change{"X-Secret": "n"}}, "auth.password"},
		"a password anew, headers stay":  {secret, basic, change{"auth": but(basic, "password", "n")}, "headers"},
		"both stay":                      {secret, basic, change{}, "headers and auth.password"},
		"a private key is not sent":      {nil, mtls, change{}, ""},
		"a private key is masked":        {nil, mtls, change{"auth": but(mtls, "private_key", "***")}, ""},
		"the signing secret is not sent": {nil, nil, change{}, ""},
		"a token URL moves, masked":      {nil, oauth, change{"url": hookURL, "auth": but(but(oauth, "client_secret", "***"), "token_url", away)}, "auth.client_secret"},
		"a token URL becomes http":       {nil, oauth, change{"url": hookURL, "auth": but(but(oauth, "client_secret", "***"), "token_url", "http://tokens.example.com/t")}, "auth.client_secret"},
		"a token URL gets another port":  {nil, oauth, change{"url": hookURL, "auth": but(but(oauth, "client_secret", "***"), "token_url", "https://tokens.example.com:8443/t")}, "auth.client_secret"},
		"a token URL moves, anew":        {nil, oauth, change{"url": hookURL, "auth": but(but(oauth, "client_secret", "n"), "token_url", away)}, ""},
		"a token URL gets another path":  {nil, oauth, change{"url": hookURL, "auth": but(but(oauth, "client_secret", "***"), "token_url", "https://TOKENS.example.com:443/u")}, ""},
		"a URL becomes http":             {secret, nil, change{"url": strings.Replace(hookURL, "https:", "http:", 1)}, "headers"},
		"a URL gets another port":        {secret, nil, change{"url": "https://hooks.example.com:8443/"}, "headers"},
		"a URL gets a subdomain":         {secret, nil, change{"url": "https://x.hooks.example.com/"}, "headers"},
		"a URL gets another path":        {secret, basic, change{"url": "HTTPS://Hooks.Example.com:443/other?x=1"}, ""},
		"the same URL with masks":        {secret, basic, change{"url": hookURL, "headers": change{"X-Secret": "***"}, "auth": but(basic, "password", "***")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var more []any
			if of.headers != nil {
				more = append(more, "headers", of.headers)
			}
			if of.auth != nil {
				more = append(more, "auth", of.auth)
			}
			path := "/v1/webhooks/" + c.webhook(more...)
			before := c.do("GET", path, nil).want(t, 200).json
			body := maps.Clone(of.change)
			if body["url"] == nil {
				body["url"] = away
			}
			if of.names == "" {
				c.do("PATCH", path, body).want(t, 200)
			} else {
				refused := string(c.do("PATCH", path, body).want(t, 422).raw)
				require.Contains(t, refused, "scheme, host or port")
				require.Contains(t, refused, "give "+of.names+" anew")
				require.NotContains(t, refused, "hunter2")
				require.Equal(t, before, c.do("GET", path, nil).want(t, 200).json, "a refused change changes nothing")
			}
			c.do("DELETE", path, nil).want(t, 204)
		})
	}
}

// largeRSA returns a certificate and its key in PEM, of the Mersenne primes with the exponents: whoever wants a large key
// need not search for primes.
func largeRSA(t *testing.T, p, q uint) (certificate, key string) {
	t.Helper()
	one := big.NewInt(1)
	prime := func(exponent uint) *big.Int { return new(big.Int).Sub(new(big.Int).Lsh(one, exponent), one) }
	a, b := prime(p), prime(q)
	totient := new(big.Int).Mul(new(big.Int).Sub(a, one), new(big.Int).Sub(b, one))
	k := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: new(big.Int).Mul(a, b), E: 65537},
		D:         new(big.Int).ModInverse(big.NewInt(65537), totient), Primes: []*big.Int{a, b},
	}
	template := &x509.Certificate{SerialNumber: one, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	require.NoError(t, err)
	encode := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return encode("CERTIFICATE", der), encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(k))
}
