package api_test

import (
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/api"
)

func TestAKeyIsRotatedOverTheAPI(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	made := c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"read"}}).want(t, 201)
	first := client{w: w, key: made.text("secret")}
	require.Equal(t, made.text("secret")[:9], made.text("prefix"))
	path := "/v1/keys/" + made.text("id") + "/rotate"
	other.do("POST", path, nil).want(t, 404)
	c.do("POST", path, map[string]any{"overlap": "721h"}).want(t, 422).names(t, "body.overlap")
	c.do("POST", path, map[string]any{"overlap": "soon"}).want(t, 422).names(t, "body.overlap")
	first.do("GET", "/v1/webhooks", nil).want(t, 200)

	rotated := c.do("POST", path, nil).want(t, 200)
	second := client{w: w, key: rotated.text("secret")}
	require.NotEmpty(t, rotated.text("overlap_ends_at"))
	for _, key := range []client{first, second} {
		key.do("GET", "/v1/webhooks", nil).want(t, 200)
		key.do("POST", "/v1/webhooks", map[string]any{}).want(t, 403)
	}
	third := client{w: w, key: c.do("POST", path, map[string]any{"overlap": "0s"}).want(t, 200).text("secret")}
	for _, key := range []client{first, second} {
		key.do("GET", "/v1/webhooks", nil).want(t, 401)
	}
	third.do("GET", "/v1/webhooks", nil).want(t, 200)
}

func TestAKeyExpires(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for name, bad := range map[string]map[string]any{
		"body.expires_in": {"expires_in": "-1h"},
		"body.expires_at": {"expires_at": "2020-01-01T00:00:00Z"},
	} {
		c.do("POST", "/v1/keys", bad).want(t, 422).names(t, name)
	}
	c.do("POST", "/v1/keys", map[string]any{"expires_in": "1h", "expires_at": "2099-01-01T00:00:00Z"}).want(t, 422).names(t, "body.expires_at")
	made := c.do("POST", "/v1/keys", map[string]any{"expires_in": "1h"}).want(t, 201)
	expires, err := time.Parse(time.RFC3339Nano, made.text("expires_at"))
	require.NoError(t, err)
	key := client{w: w, key: made.text("secret")}
	key.do("GET", "/v1/webhooks", nil).want(t, 200)

	// What it creates ends with it.
	require.Equal(t, made.text("expires_at"), key.do("POST", "/v1/keys", map[string]any{}).want(t, 201).text("expires_at"))
	key.do("POST", "/v1/keys", map[string]any{"expires_at": expires.Add(time.Second).Format(time.RFC3339Nano)}).want(t, 422).names(t, "body.expires_at")
	key.do("POST", "/v1/keys", map[string]any{"expires_in": "1m"}).want(t, 201)
	// It gets the secret of no key that lives longer.
	longer := c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"read"}}).want(t, 201).text("id")
	key.do("POST", "/v1/keys/"+longer+"/rotate", nil).want(t, 403)
	key.do("POST", "/v1/keys/"+made.text("id")+"/rotate", nil).want(t, 200)

	_, err = w.pool.Exec(t.Context(), `UPDATE fanmail.api_keys SET expires_at = now() WHERE id = $1`, id[events.APIKeyKind](t, made.text("id")))
	require.NoError(t, err)
	key.do("GET", "/v1/webhooks", nil).want(t, 401)
}

func TestAKeyIsAcceptedFromItsNetworksAlone(t *testing.T) {
	t.Parallel()
	w := start(t, func(o *api.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} })
	c := w.tenant()
	for _, bad := range []string{"office", "10.0.0.1/8", "10.0.0.0/33", "fe80::1%eth0"} {
		c.do("POST", "/v1/keys", map[string]any{"networks": []string{bad}}).want(t, 422).names(t, "body.networks[0]")
	}
	made := c.do("POST", "/v1/keys", map[string]any{"networks": []string{"192.0.2.0/24", "2001:db8::1"}}).want(t, 201)
	require.Equal(t, []any{"192.0.2.0/24", "2001:db8::1/128"}, made.json["networks"])
	key := client{w: w, key: made.text("secret")}
	from := func(chain string, status int) *answer {
		t.Helper()
		return key.do("GET", "/v1/webhooks", nil, "X-Forwarded-For", chain).want(t, status)
	}
	from("192.0.2.9", 200)
	from("2001:db8::1", 200)
	from("198.51.100.1, 192.0.2.9", 200) // what stands before is the client's own text
	require.Contains(t, from("192.0.2.9, 198.51.100.1", 403).text("detail"), "not accepted from 198.51.100.1; its networks are 192.0.2.0/24, 2001:db8::1/128")
	key.do("GET", "/v1/webhooks", nil).want(t, 403)

	// The keys that it creates are held to them too.
	create := func(networks []string) *answer {
		return key.do("POST", "/v1/keys", map[string]any{"networks": networks}, "X-Forwarded-For", "192.0.2.9")
	}
	require.Equal(t, made.json["networks"], create(nil).want(t, 201).json["networks"])
	create([]string{"192.0.2.128/25"}).want(t, 201)
	create([]string{"192.0.2.0/23"}).want(t, 422).names(t, "body.networks")
	create([]string{"0.0.0.0/0"}).want(t, 422).names(t, "body.networks")
	free := c.do("POST", "/v1/keys", map[string]any{"scopes": []string{"read"}}).want(t, 201).text("id")
	key.do("POST", "/v1/keys/"+free+"/rotate", nil, "X-Forwarded-For", "192.0.2.9").want(t, 403)
}

func TestTheAddressOfAClientIsTheLastThatNoTrustedProxyHas(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	for _, c := range []struct {
		remote, want string
		forwarded    []string
	}{
		{"192.0.2.1:5", "192.0.2.1", nil},
		{"192.0.2.1:5", "192.0.2.1", []string{"198.51.100.7"}}, // nobody asked this client
		{"10.1.1.1:5", "198.51.100.7", []string{"198.51.100.7"}},
		{"10.1.1.1:5", "198.51.100.7", []string{"203.0.113.5, 198.51.100.7, 10.2.2.2"}},
		{"10.1.1.1:5", "198.51.100.7", []string{"203.0.113.5", "198.51.100.7"}},
		{"[fd00::1]:5", "2001:db8::7", []string{"2001:db8::7"}},
		{"[::ffff:10.1.1.1]:5", "198.51.100.7", []string{"::ffff:198.51.100.7"}},
		{"10.1.1.1:5", "10.1.1.1", nil},
		{"10.1.1.1:5", "10.2.2.2", []string{"nonsense, 10.2.2.2"}},
		{"@", "invalid IP", []string{"198.51.100.7"}},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.remote
		for _, f := range c.forwarded {
			r.Header.Add("X-Forwarded-For", f)
		}
		require.Equal(t, c.want, api.ClientAddress(r, proxies).String(), "%+v", c)
	}
}

func TestAnOperatorReadsAsATenantAndReadsOnly(t *testing.T) {
	t.Parallel()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	hook := c.webhook()
	event := c.event()
	own := "?tenant_id=" + c.tenantID
	require.Equal(t, []string{hook}, w.operator.do("GET", "/v1/webhooks"+own, nil).want(t, 200).ids(t, "id"))
	require.Equal(t, event, w.operator.do("GET", "/v1/events/"+event+own, nil).want(t, 200).text("id"))
	require.Empty(t, w.operator.do("GET", "/v1/webhooks?tenant_id="+other.tenantID, nil).want(t, 200).ids(t, "id"))
	w.operator.do("GET", "/v1/events/"+event+"?tenant_id="+other.tenantID, nil).want(t, 404)
	w.operator.do("GET", "/v1/events/"+event, nil).want(t, 403)
	w.operator.do("GET", "/v1/webhooks?tenant_id="+events.NewRandom[events.TenantKind]().String(), nil).want(t, 404)
	for _, bad := range []string{"?tenant_id=ten_x", "?tenant_id=", own + "&tenant_id=" + c.tenantID} {
		w.operator.do("GET", "/v1/webhooks"+bad, nil).want(t, 422).names(t, "query.tenant_id")
	}
	// The other parameters are the operation's.
	require.Empty(t, w.operator.do("GET", "/v1/events"+own+"&type=email.sent", nil).want(t, 200).ids(t, "id"))
	w.operator.do("GET", "/v1/events"+own+"&nonsense=1", nil).want(t, 422)
	w.operator.do("POST", "/v1/events"+own, map[string]any{"type": "email.sent", "data": map[string]any{}}).want(t, 403)
	w.operator.do("DELETE", "/v1/webhooks/"+hook+own, nil).want(t, 403)
	// A tenant's key names its own tenant, and no other.
	c.do("GET", "/v1/webhooks"+own, nil).want(t, 200)
	c.do("GET", "/v1/webhooks?tenant_id="+other.tenantID, nil).want(t, 404)
}
