package api_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOnlyOperatorsAddAlertAddresses: otherwise a tenant could have Fanmail mail strangers.
func TestOnlyOperatorsAddAlertAddresses(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	at := "/v1/tenants/" + c.tenantID
	set := func(who client, addresses ...string) *answer {
		return who.do("PATCH", at, map[string]any{"alert_addresses": append([]string{}, addresses...)})
	}
	require.Equal(t, []any{}, c.do("GET", at, nil).want(t, 200).json["alert_addresses"])
	set(c, "ops@example.com").want(t, 403)
	got := set(w.operator, "ops@EXAMPLE.com", "Oncall+fanmail@example.com", "ops@example.com").want(t, 200)
	require.Equal(t, []any{"ops@example.com", "Oncall+fanmail@example.com"}, got.json["alert_addresses"], "each once")
	require.Equal(t, got.json, c.do("GET", at, nil).want(t, 200).json)
	require.Equal(t, got.json, w.operator.do("PATCH", at, map[string]any{}).want(t, 200).json, "nothing is changed")

	set(c, "ops@example.com", "stranger@example.net").want(t, 403)
	require.Equal(t, []any{"Oncall+fanmail@example.com"}, set(c, "Oncall+fanmail@example.com").want(t, 200).json["alert_addresses"])
	set(c, "ops@example.com").want(t, 403)
	require.Equal(t, []any{}, c.do("PATCH", at, `{"alert_addresses":null}`).want(t, 200).json["alert_addresses"])
	other := w.tenant()
	set(other, "ops@example.com").want(t, 404)
	w.operator.do("PATCH", "/v1/tenants/ten_00000000000000000000000000000001", map[string]any{"alert_addresses": []string{}}).want(t, 404)
	w.operator.do("PATCH", at, map[string]any{"name": "x"}).want(t, 422)
}

// TestAnAlertAddressIsPlain, since it is written into commands of SMTP and into a header.
func TestAnAlertAddressIsPlain(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	for _, bad := range []string{
		"", "ops", "@example.com", "ops@", "ops@example.com\r\nBcc: x@example.com", "ops@example.com>", "Ops <ops@example.com>", "a@b@example.com",
		`"a b"@example.com`, "ops@[127.0.0.1]", "ops @example.com", "öps@example.com", "ops@exämple.com", "ops@example.com, x@example.com", "ops@example.com\u0000",
		fmt.Sprintf("%0250d@example.com", 1),
	} {
		got := w.operator.do("PATCH", "/v1/tenants/"+c.tenantID, map[string]any{"alert_addresses": []string{bad}}).want(t, 422)
		require.Contains(t, string(got.raw), "alert_addresses", bad)
	}
	var six []string
	for i := range 6 {
		six = append(six, fmt.Sprintf("ops%d@example.com", i))
	}
	got := w.operator.do("PATCH", "/v1/tenants/"+c.tenantID, map[string]any{"alert_addresses": six}).want(t, 422)
	require.Contains(t, string(got.raw), "holds 6 addresses; the limit is 5")
}
