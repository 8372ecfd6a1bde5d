package api_test

import (
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/test/dnstest"
)

// zone answers TXT questions from a map that a test changes.
type zone struct {
	mu  sync.Mutex
	txt map[string]string
}

func (z *zone) set(name, value string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.txt[name+"."] = value
}

func (z *zone) answer(name, kind string) ([]string, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	value, found := z.txt[name]
	return []string{value}, found && kind == "TXT"
}

// stranger creates a tenant without any domain.
func (w *world) stranger() client {
	w.t.Helper()
	made := w.operator.do("POST", "/v1/tenants", map[string]any{"name": w.t.Name()}).want(w.t, 201)
	c := client{w: w, tenantID: made.text("id")}
	c.key = w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": c.tenantID}).want(w.t, 201).text("secret")
	return c
}

func (c client) agent(address string) *answer {
	c.w.t.Helper()
	return c.do("POST", "/v1/agents", map[string]any{"address": address})
}

func TestADomainIsProvenByDNS(t *testing.T) {
	t.Parallel()
	z := &zone{txt: map[string]string{}}
	server, _ := dnstest.ServeFunc(t, z.answer)
	w := start(t, func(o *api.Options) { o.DNSServer = server })
	a, b := w.stranger(), w.stranger()
	a.agent("ceo@example.com").want(t, 422).names(t, "body.address")
	made := a.do("POST", "/v1/domains", map[string]any{"domain": " Example.COM. "}).want(t, 201)
	require.Equal(t, "example.com", made.text("domain"))
	require.Nil(t, made.json["verified_at"])
	record := made.json["record"].(map[string]any)
	require.Equal(t, "_fanmail.example.com", record["name"])
	again := a.do("POST", "/v1/domains", map[string]any{"domain": "example.com"}).want(t, 201)
	require.Equal(t, made.json, again.json, "adding it again keeps its record")
	a.agent("ceo@example.com").want(t, 422)
	a.do("POST", "/v1/domains/example.com/verify", nil).want(t, 409)
	z.set("_fanmail.example.com", "fanmail-verify=other")
	a.do("POST", "/v1/domains/example.com/verify", nil).want(t, 409)
	z.set("_fanmail.example.com", record["value"].(string))
	require.NotNil(t, a.do("POST", "/v1/domains/example.com/verify", nil).want(t, 200).json["verified_at"])
	a.agent("ceo@example.com").want(t, 201)
	a.agent("ceo@below.example.com").want(t, 201)
	a.agent("ceo@notexample.com").want(t, 422)
	a.agent("ceo@com").want(t, 422)

	// Another tenant may claim it, and learns nothing until it proves the domain too.
	theirs := b.do("POST", "/v1/domains", map[string]any{"domain": "example.com"}).want(t, 201)
	b.do("POST", "/v1/domains/example.com/verify", nil).want(t, 409)
	b.agent("free@example.com").want(t, 422)
	z.set("_fanmail.example.com", theirs.json["record"].(map[string]any)["value"].(string))
	b.do("POST", "/v1/domains/example.com/verify", nil).want(t, 409)
	a.do("DELETE", "/v1/domains/example.com", nil).want(t, 409)
	a.do("DELETE", "/v1/agents/ceo@example.com", nil).want(t, 204)
	a.do("DELETE", "/v1/domains/example.com", nil).want(t, 409)
	a.do("DELETE", "/v1/agents/ceo@below.example.com", nil).want(t, 204)
	a.do("DELETE", "/v1/domains/example.com", nil).want(t, 204)
	require.Contains(t, string(b.do("POST", "/v1/domains/example.com/verify", nil).want(t, 409).raw), "30 days")
	_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.released_names SET released_at = now() - interval '31 days'`)
	require.NoError(t, err)
	b.do("POST", "/v1/domains/example.com/verify", nil).want(t, 200)
	b.agent("free@example.com").want(t, 201)
}

func TestAnOperatorGivesDomains(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, b := w.stranger(), w.stranger()
	give := func(c client, name string) *answer {
		return w.operator.do("POST", "/v1/domains", map[string]any{"tenant_id": c.tenantID, "domain": name})
	}
	give(a, "*").want(t, 201)
	give(b, "*").want(t, 409)
	give(b, "b.example").want(t, 201)
	give(a, "b.example").want(t, 409)
	a.agent("x@anything.example").want(t, 201)
	a.agent("x@b.example").want(t, 422)
	b.agent("x@sub.b.example").want(t, 201)
	give(a, "a.sub.b.example").want(t, 201)
	a.agent("x@a.sub.b.example").want(t, 201)
	b.agent("x@a.sub.b.example").want(t, 422)
	require.Equal(t, []string{"*", "a.sub.b.example"}, a.do("GET", "/v1/domains", nil).want(t, 200).ids(t, "domain"))
	require.Equal(t, []string{"b.example"}, w.operator.do("GET", "/v1/domains?tenant_id="+b.tenantID, nil).want(t, 200).ids(t, "domain"))
	w.operator.do("GET", "/v1/domains", nil).want(t, 422).names(t, "query.tenant_id")
	w.operator.do("DELETE", "/v1/domains/a.sub.b.example?tenant_id="+a.tenantID, nil).want(t, 409)
	b.do("GET", "/v1/domains?tenant_id="+a.tenantID, nil).want(t, 404)
	b.do("GET", "/v1/domains/a.sub.b.example", nil).want(t, 404)
	b.do("POST", "/v1/domains", map[string]any{"domain": "c.example", "tenant_id": a.tenantID}).want(t, 404)
	for _, bad := range []string{"", "*", "com", "192.0.2.1", "a b.example", "x@y.example", "*.example.com", "\x00.example", strings.Repeat("a.", 200) + "example"} {
		a.do("POST", "/v1/domains", map[string]any{"domain": bad}).want(t, 422).names(t, "body.domain")
	}
	require.Equal(t, "xn--bcher-kva.example", a.do("POST", "/v1/domains", map[string]any{"domain": "Bücher.example"}).want(t, 201).text("domain"))
}
