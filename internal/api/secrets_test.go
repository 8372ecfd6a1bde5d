package api_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// planted are secrets of every kind, and the values of path parameters that lead to them.
type planted struct {
	secrets []string
	values  map[string][]string // by the path before a parameter and its name
}

func (p *planted) id(place, value string) { p.values[place] = append(p.values[place], value) }

func plant(t *testing.T, c client) *planted {
	t.Helper()
	p := &planted{values: map[string][]string{}}
	cert, key, _ := pemOf(t)
	p.secrets = append(p.secrets, c.key, c.w.operator.key, strings.Split(key, "\n")[1], "hunter2")
	for i, auth := range []map[string]any{
		{"type": "basic", "username": "user", "password": "hunter2-password"},
		{"type": "oauth2", "token_url": "https://tokens.example.com/t", "client_id": "me", "client_secret": "hunter2-client"},
		{"type": "mtls", "certificate": cert, "private_key": key},
	} {
		made := c.do("POST", "/v1/webhooks", map[string]any{
			"url": hookURL, "events": []string{"*"}, "headers": map[string]any{"x-api-key": "hunter2-header"}, "auth": auth, "ed25519": true,
		}, "Idempotency-Key", "make"+string(rune('a'+i))).want(t, 201)
		id := made.text("id")
		p.id("/v1/webhooks/{id}", id)
		path := "/v1/webhooks/" + id
		first := c.do("POST", path+"/rotate-secret", nil, "Idempotency-Key", "rotate"+id).want(t, 200)
		brought := c.do("POST", path+"/rotate-secret", map[string]any{"signing_secret": "hunter2-brought-along" + id}).want(t, 200)
		for _, a := range []*answer{made, first, brought} {
			p.secrets = append(p.secrets, a.text("signing_secret"), strings.TrimPrefix(a.text("signing_secret"), "whsec_"))
		}
		test := c.do("POST", path+"/test", nil).want(t, 202)
		p.id("/v1/deliveries/{id}", test.text("id"))
		p.id("/v1/events/{id}", test.text("event_id"))
	}
	made := c.w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": c.tenantID}, "Idempotency-Key", "key").want(t, 201)
	p.secrets = append(p.secrets, made.text("secret"))
	p.id("/v1/keys/{id}", made.text("id"))
	p.id("/v1/tenants/{id}", c.tenantID)
	p.id("/v1/portal-links/{id}", "ptl_00000000000000000000000000000001")
	none := "00000000-0000-7000-8000-000000000000"
	p.id("/v1/replays/{id}", none)
	p.id("/v1/erasures/{id}", c.do("POST", "/v1/erasures", map[string]any{"address": "ann@shop.example"}).want(t, 202).text("id"))
	p.id("/v1/messages/{id}", none)
	p.id("/v1/messages/{id}/attachments/{n}", "1")
	p.id("/v1/messages/{id}/fields/{field}", "text")
	p.id("/v1/agents/{address}", "robot@example.com")
	p.id("/v1/domains/{domain}", "example.com")
	p.id("/v1/event-types/{name}", "email.received")
	return p
}

var parameter = regexp.MustCompile(`\{[a-z_]+\}`)

// paths returns the path of an operation for each planted value.
func (p *planted) paths(t *testing.T, pattern string) []string {
	t.Helper()
	out := []string{""}
	rest := 0
	for _, at := range parameter.FindAllStringIndex(pattern, -1) {
		values := p.values[pattern[:at[1]]]
		require.NotEmpty(t, values, "say what %s is", pattern[:at[1]])
		var longer []string
		for _, before := range out {
			for _, v := range values {
				longer = append(longer, before+pattern[rest:at[0]]+v)
			}
		}
		out, rest = longer, at[1]
	}
	for i := range out {
		out[i] += pattern[rest:]
	}
	return out
}

// planting starts an API that encrypts secrets, plants some for a tenant, and returns the document's paths, each with its
// operations by method.
func planting(t *testing.T) (w *world, c client, p *planted, paths map[string]map[string]json.RawMessage) {
	t.Helper()
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	keys, err := keyring.Parse(secret.Text(text))
	require.NoError(t, err)
	w = start(t, func(o *api.Options) { o.Secrets = keys })
	c = w.tenant()
	p = plant(t, c)
	doc, err := api.OpenAPI()
	require.NoError(t, err)
	var parsed struct {
		Paths map[string]map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(doc, &parsed))
	return w, c, p, parsed.Paths
}

// TestNoReadAndNoDumpShowsASecret calls each operation of the document that reads or changes, and looks into each column
// of each table of the database.
func TestNoReadAndNoDumpShowsASecret(t *testing.T) {
	t.Parallel()
	w, c, p, paths := planting(t)
	read := 0
	for pattern, item := range paths {
		for method := range item {
			method = strings.ToUpper(method)
			var body any
			switch {
			case method == http.MethodPatch:
				body = map[string]any{}
			case method != http.MethodGet:
				continue
			}
			for _, path := range p.paths(t, pattern) {
				for _, who := range []client{c, w.operator} {
					a := who.do(method, path, body)
					for _, s := range p.secrets {
						require.NotContains(t, string(a.raw), s, "%s %s", method, path)
					}
					if a.status == http.StatusOK {
						read++
					}
				}
			}
		}
	}
	require.Greater(t, read, 20, "the values lead somewhere")
	p.notStored(t, w)
}

// notStored looks for the secrets in all tables that the catalogue knows.
func (p *planted) notStored(t *testing.T, w *world) {
	t.Helper()
	rows, err := w.pool.Query(t.Context(), `SELECT c.oid::regclass::text FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'm') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'`)
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Greater(t, len(tables), 15)
	full := 0
	for _, table := range tables {
		var dump string
		require.NoError(t, w.pool.QueryRow(t.Context(), `SELECT coalesce(string_agg(r::text, E'\n'), '') FROM `+table+` AS r`).Scan(&dump))
		if dump != "" {
			full++
		}
		for _, s := range p.secrets {
			for _, form := range []string{s, hex.EncodeToString([]byte(s)), base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s))} {
				require.NotContains(t, dump, form, table)
			}
		}
	}
	require.Greater(t, full, 5)
}
