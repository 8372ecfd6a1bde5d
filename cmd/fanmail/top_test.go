package main

import (
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/stretchr/testify/require"
)

func TestTopNamesTheTenantThatFloods(t *testing.T) {
	t.Parallel()
	dir := up(t)
	out, _ := background(t, dir, "listen")
	out.shows(t, "listening on")
	for range 3 {
		must(t, dir, `{"n":1}`, "events", "create", "email.sent")
	}
	out.shows(t, "→ 200")
	tenant := listing(t, dir, "tenants", "list")[0]
	for by, id := range map[string]string{"tenant": tenant["id"].(string), "webhook": "wh_"} {
		require.Eventually(t, func() bool {
			for line := range strings.Lines(must(t, dir, "", "top", "--by", by)) {
				if f := strings.Fields(line); len(f) > 3 && strings.HasPrefix(f[0], id) {
					return f[len(f)-3] != "0.0" // attempts a second
				}
			}
			return false
		}, patience, 200*time.Millisecond, by)
	}
	got := object(t, must(t, dir, "", "top", "--json", "--order", "slots"))
	require.Equal(t, true, got["complete"])
	require.Equal(t, tenant["id"], got["data"].([]any)[0].(map[string]any)["id"])
	require.Contains(t, must(t, dir, "", "top", "--by", "agent", "--once"), "no agent was active")
	_, code := fanmail(t, dir, "", "top", "--every", "1ms")
	require.Equal(t, 1, code)
	require.Contains(t, must(t, dir, "", "tenants", "list", "--name", tenant["name"].(string)[:2]), tenant["id"])
}

// TestATableOfTopFitsATerminal also with the longest ids and large figures.
func TestATableOfTopFitsATerminal(t *testing.T) {
	t.Parallel()
	row := topRow{
		ID: "ten_" + strings.Repeat("0", 32), TenantName: "\x1b[2Jhostile name of a tenant", URL: "https://hooks.example.com/" + strings.Repeat("x", 99),
		Events: 123456, Attempts: 99999, Failures: 1234567,
	}
	for _, by := range []string{"tenant", "webhook"} {
		for _, order := range []string{"rate", "bytes", "slots", "backlog"} {
			var b, left strings.Builder
			c := topCmd{By: by, Order: order}
			require.NoError(t, c.table(&session{out: &b, err: &left, width: 80}, &topAnswer{Data: []topRow{row}}))
			require.Empty(t, left.String(), "all columns have room")
			for line := range strings.Lines(b.String()) {
				require.LessOrEqual(t, runewidth.StringWidth(strings.TrimRight(line, "\n ")), 80, "%s by %s: %s", by, order, line)
				require.NotContains(t, line, "\x1b")
			}
		}
	}
}
