package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/process"
)

func page(t *testing.T, path string) string {
	t.Helper()
	root, err := process.Root()
	require.NoError(t, err)
	b, err := os.ReadFile(filepath.Join(root, path))
	require.NoError(t, err)
	return string(b)
}

func TestPanelsAndAlertsNameMetricsThatAreExported(t *testing.T) {
	t.Parallel()
	root, err := process.Root()
	require.NoError(t, err)
	documented := page(t, "docs/reference/metrics.md")
	panels, err := queries(root)
	require.NoError(t, err)
	require.NotEmpty(t, panels)
	rules, err := alerts(root)
	require.NoError(t, err)
	require.NotEmpty(t, rules)
	for _, a := range rules {
		panels = append(panels, query{a.Alert, a.Expr})
	}
	for _, q := range panels {
		for _, m := range metrics(q.expr) {
			require.Contains(t, documented, "| `"+m+"` |", "%s asks for a metric that no process exports", q.panel)
		}
	}
}

func TestEachAlertHasARunbookAndBothCases(t *testing.T) {
	t.Parallel()
	root, err := process.Root()
	require.NoError(t, err)
	rules, err := alerts(root)
	require.NoError(t, err)
	runbooks, cases := page(t, "docs/reference/alerts.md"), page(t, "deploy/observability/alerts_test.yaml")
	for _, a := range rules {
		require.Contains(t, runbooks, "\n## "+a.Alert+"\n")
		require.Equal(t, "https://github.com/fanmail-dev/fanmail/blob/main/docs/reference/alerts.md#"+strings.ToLower(a.Alert), a.Annotations["runbook_url"])
		require.Contains(t, cases, `name: "`+a.Alert+` fires"`)
		require.Contains(t, cases, `name: "`+a.Alert+` is silent"`)
	}
	require.Equal(t, len(rules), strings.Count(runbooks, "\n## Fanmail"), "no runbook of an alert that is gone")
}
