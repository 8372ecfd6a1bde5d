package api_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// operation is an operation of the document, with who may call it.
type operation struct {
	ID      string         `json:"operationId"`
	Roles   []tenancy.Role `json:"x-roles"`
	Callers []string       `json:"x-callers"`
	Summary string         `json:"summary"`

	method, path string
}

// operations are those of the document, by path and method.
func operations(t *testing.T) (out []operation) {
	t.Helper()
	doc, err := api.OpenAPI()
	require.NoError(t, err)
	var parsed struct {
		Paths map[string]map[string]operation `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(doc, &parsed))
	for path, item := range parsed.Paths {
		for method, o := range item {
			o.method, o.path = strings.ToUpper(method), path
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b operation) int { return strings.Compare(a.path+" "+a.method, b.path+" "+b.method) })
	require.Greater(t, len(out), 40)
	return out
}

// url is the operation's path with ids of nothing.
func (o operation) url() string {
	const none = "00000000000000000000000000000001"
	out := o.path
	for prefix, kind := range map[string]string{
		"/v1/webhooks/": "wh_", "/v1/deliveries/": "whd_", "/v1/events/": "evt_", "/v1/keys/": "key_", "/v1/messages/": "msg_",
		"/v1/replays/": "rpl_", "/v1/tenants/": "ten_", "/v1/portal-links/": "ptl_", "/v1/erasures/": "era_",
	} {
		if strings.HasPrefix(out, prefix+"{id}") {
			out = strings.Replace(out, "{id}", kind+none, 1)
		}
	}
	return parameter.ReplaceAllStringFunc(out, func(p string) string {
		return map[string]string{"{n}": "0", "{field}": "text", "{address}": "nobody@example.org", "{domain}": "nothing.example", "{name}": "nothing.known"}[p]
	})
}

// refusedByRole says whether an answer refuses the kind or the roles of the caller.
func refusedByRole(a *answer) bool {
	detail := a.text("detail")
	return a.status == 403 && (strings.Contains(detail, "with one of the roles") || strings.HasPrefix(detail, "this operation needs"))
}

// TestEveryOperationTakesItsRoles calls every operation with a key of every role.
func TestEveryOperationTakesItsRoles(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	keys := map[string]client{}
	for _, role := range tenancy.Roles() {
		made := w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": c.tenantID, "scopes": []tenancy.Role{role}}).want(t, 201)
		keys["tenant"+string(role)] = client{w: w, key: made.text("secret")}
		if role != tenancy.RoleSendOnly && role != tenancy.RoleConsume { // which operators' keys don't have
			made = w.operator.do("POST", "/v1/keys", map[string]any{"scopes": []tenancy.Role{role}}).want(t, 201)
			keys["operator"+string(role)] = client{w: w, key: made.text("secret")}
		}
	}
	for _, o := range operations(t) {
		require.NotEmpty(t, o.Roles, o.ID)
		require.NotEmpty(t, o.Callers, o.ID)
		for _, role := range tenancy.Roles() {
			for _, caller := range []string{"tenant", "operator", "operator for a tenant"} {
				url := o.url()
				key, ok := keys[strings.TrimSuffix(caller, " for a tenant")+string(role)]
				if !ok {
					continue
				}
				if caller == "operator for a tenant" {
					if o.method != "GET" || slices.Contains(o.Callers, "operator") {
						continue
					}
					url += "?tenant_id=" + c.tenantID
				}
				a := key.do(o.method, url, map[string]any{})
				may := slices.Contains(o.Callers, caller) && slices.Contains(o.Roles, role)
				require.Equal(t, !may, refusedByRole(a), "%s with the role %s of %s: %d %s", o.ID, role, caller, a.status, a.raw)
				require.NotEqual(t, 401, a.status)
			}
		}
	}
}

const rolesPage = "../../docs/reference/roles.md"

// TestRolesAreDocumented writes the table of the page with -update.
func TestRolesAreDocumented(t *testing.T) {
	t.Parallel()
	const begin, end = "<!-- generated: go test ./internal/api -run TestRolesAreDocumented -update -->\n", "<!-- end -->\n"
	page, err := os.ReadFile(rolesPage)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(page), begin)
	require.True(t, ok)
	_, after, ok := strings.Cut(rest, end)
	require.True(t, ok)
	var b strings.Builder
	b.WriteString("| operation | callers |")
	for _, role := range tenancy.Roles() {
		fmt.Fprintf(&b, " %s |", role)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(tenancy.Roles())) + "\n")
	for _, o := range operations(t) {
		fmt.Fprintf(&b, "| `%s %s` | %s |", o.method, o.path, strings.Join(o.Callers, ", "))
		for _, role := range tenancy.Roles() {
			mark := ""
			if slices.Contains(o.Roles, role) {
				mark = "yes"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteString("\n")
	}
	want := before + begin + b.String() + end + after
	if *update {
		require.NoError(t, os.WriteFile(rolesPage, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(page), "run go test ./internal/api -run TestRolesAreDocumented -update")
}
