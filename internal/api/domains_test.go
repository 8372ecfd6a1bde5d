package api_test

import (
	"slices"
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

func TestAReleasedDomainIsQuarantinedForOthers(t *testing.T) {
	t.Parallel()
	const refused, free, taken = 422, 201, 409
	for name, of := range map[string]struct {
		a, b     []string // domains that the operator gives at first
		agents   []string // of a, which then deletes all that it has
		then     []string // domains that the operator gives b after that
		want     map[string]int
		provable map[string]int
	}{
		"below another's domain": {
			a: []string{"sub.parent.example"}, b: []string{"parent.example"}, agents: []string{"*@sub.parent.example", "*@deep.sub.parent.example"},
			want: map[string]int{
				"bob@sub.parent.example": refused, "*@sub.parent.example": refused, "bob+x@sub.parent.example": refused,
				"bob@deep.sub.parent.example": refused, "*@deep.sub.parent.example": refused, "bob@other.sub.parent.example": refused,
				"bob@parent.example": free, "bob@sub2.parent.example": free, "*@parent.example": free,
			},
			provable: map[string]int{"sub.parent.example": 409, "x.sub.parent.example": 409, "sub2.parent.example": 200},
		},
		"below every domain": {
			a: []string{"rel.example"}, b: []string{"*"}, agents: []string{"*@rel.example", "ceo@rel.example"},
			want: map[string]int{
				"ceo@rel.example": refused, "cfo@rel.example": refused, "*@rel.example": refused, "cfo@x.rel.example": refused,
				"ceo@rel2.example": free, "ceo@notrel.example": free,
			},
			provable: map[string]int{"rel.example": 409, "x.rel.example": 409, "notrel.example": 200},
		},
		"above another's domain": {
			a: []string{"parent.example"}, b: []string{"sub.parent.example"}, agents: []string{"*@parent.example"},
			want: map[string]int{
				"bob@sub.parent.example": free, "*@x.sub.parent.example": free, "bob@parent.example": refused, "bob@sub2.parent.example": refused,
			},
			provable: map[string]int{"x.sub.parent.example": 200, "parent.example": 409, "sub2.parent.example": 409},
		},
		"given by the operator": {
			a: []string{"rel.example"}, agents: []string{"*@rel.example", "ceo@rel.example", "*@x.rel.example"}, then: []string{"rel.example"},
			want: map[string]int{
				"bob@rel.example": free, "*@rel.example": free, "ceo@rel.example": taken, "ceo+x@rel.example": taken,
				"*@x.rel.example": taken, "bob@x.rel.example": taken,
			},
		},
		"a domain below is given by the operator": {
			a: []string{"rel.example"}, agents: []string{"*@rel.example", "*@x.rel.example", "ann+tag@x.rel.example"}, then: []string{"x.rel.example"},
			want: map[string]int{
				"bob@x.rel.example": free, "*@x.rel.example": free, "bob@y.x.rel.example": free, "ann+tag@x.rel.example": taken, "ann@x.rel.example": free,
				"bob@rel.example": refused, "bob@y.rel.example": refused,
			},
			provable: map[string]int{"y.x.rel.example": 200, "rel.example": 409},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := &zone{txt: map[string]string{}}
			server, _ := dnstest.ServeFunc(t, z.answer)
			w := start(t, func(o *api.Options) { o.DNSServer = server })
			a, b := w.stranger(), w.stranger()
			give := func(c client, names []string) {
				for _, d := range names {
					w.operator.do("POST", "/v1/domains", map[string]any{"tenant_id": c.tenantID, "domain": d}).want(t, 201)
				}
			}
			give(a, of.a)
			give(b, of.b)
			for _, address := range of.agents {
				a.agent(address).want(t, 201)
			}
			for _, address := range of.agents {
				a.do("DELETE", "/v1/agents/"+address, nil).want(t, 204)
			}
			for _, d := range of.a {
				a.do("DELETE", "/v1/domains/"+d, nil).want(t, 204)
			}
			give(b, of.then)
			foreign := string(w.stranger().agent("bob@foreign.example").want(t, 422).raw)
			for address, status := range of.want {
				answer := b.agent(address)
				require.Equal(t, status, answer.status, address)
				if status == refused {
					require.Equal(t, foreign, string(answer.raw), "the answer is that for a domain of nobody")
				}
				if status == free {
					b.do("DELETE", "/v1/agents/"+address, nil).want(t, 204)
				}
			}
			for d, status := range of.provable {
				made := b.do("POST", "/v1/domains", map[string]any{"domain": d}).want(t, 201)
				z.set("_fanmail."+d, made.json["record"].(map[string]any)["value"].(string))
				require.Equal(t, status, b.do("POST", "/v1/domains/"+d+"/verify", nil).status, d)
			}
			if len(of.then) > 0 {
				return
			}

			// The last owner takes its domains and addresses back at once.
			for _, d := range of.a {
				made := a.do("POST", "/v1/domains", map[string]any{"domain": d}).want(t, 201)
				z.set("_fanmail."+d, made.json["record"].(map[string]any)["value"].(string))
				a.do("POST", "/v1/domains/"+d+"/verify", nil).want(t, 200)
			}
			for _, address := range of.agents {
				a.agent(address).want(t, 201)
				a.do("DELETE", "/v1/agents/"+address, nil).want(t, 204)
			}
			for _, d := range of.a {
				a.do("DELETE", "/v1/domains/"+d, nil).want(t, 204)
			}

			// After 30 days it is over.
			_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.released_names SET released_at = now() - interval '31 days'`)
			require.NoError(t, err)
			for address, status := range of.want {
				if _, domain, _ := strings.Cut(address, "@"); status == refused && slices.ContainsFunc(of.b, func(d string) bool { return d == "*" || strings.HasSuffix(domain, d) }) {
					require.Equal(t, 201, b.agent(address).status, address)
				}
			}
		})
	}
}

// An address that a released one took mail for, or that takes mail for it, is refused like the address itself.
func TestAReleasedAddressIsQuarantinedWithWhatItTook(t *testing.T) {
	t.Parallel()
	w := start(t)
	a, b := w.stranger(), w.stranger()
	w.operator.do("POST", "/v1/domains", map[string]any{"tenant_id": a.tenantID, "domain": "*"}).want(t, 201)
	for _, address := range []string{"*@all.example", "ann@one.example", "eve+tag@one.example"} {
		a.agent(address).want(t, 201)
		a.do("DELETE", "/v1/agents/"+address, nil).want(t, 204)
	}
	for _, d := range []string{"all.example", "one.example"} {
		made := b.do("POST", "/v1/domains", map[string]any{"domain": d}).want(t, 201)
		require.NotEmpty(t, made.text("domain"))
		_, err := w.pool.Exec(t.Context(), `UPDATE fanmail.domains SET verified_at = now() WHERE name = $1`, d)
		require.NoError(t, err)
	}
	for address, status := range map[string]int{
		"bob@all.example": 409, "bob+x@all.example": 409, "*@all.example": 409, "bob@sub.all.example": 201,
		"ann@one.example": 409, "ann+x@one.example": 409, "ANN+Y@one.example": 409, "bob@one.example": 201, "*@one.example": 201,
		"eve+tag@one.example": 409, "eve@one.example": 201, "eve+other@one.example": 201,
	} {
		require.Equal(t, status, b.agent(address).status, address)
	}
	require.Equal(t, string(b.agent("bob@one.example").want(t, 409).raw), string(b.agent("ann+x@one.example").want(t, 409).raw))
	// The operator gives the whole domain, which ends the quarantine of the agent for all of it.
	w.operator.do("POST", "/v1/domains", map[string]any{"tenant_id": b.tenantID, "domain": "all.example"}).want(t, 201)
	b.agent("bob@all.example").want(t, 201)
	// The last owner takes an address back at once.
	w.operator.do("POST", "/v1/domains", map[string]any{"tenant_id": b.tenantID, "domain": "b.example"}).want(t, 201)
	a.agent("*@free.example").want(t, 201)
	a.do("DELETE", "/v1/agents/*@free.example", nil).want(t, 204)
	a.agent("bob@free.example").want(t, 201)
}
