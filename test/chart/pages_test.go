package chart_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// TestTheChartHasTheValuesThatPagesName checks every path on a page, such as `nats.streams.by`, whose first part is a
// value of the chart.
func TestTheChartHasTheValuesThatPagesName(t *testing.T) {
	t.Parallel()
	var values map[string]any
	require.NoError(t, yaml.Unmarshal(readFile(t, "../../deploy/chart/values.yaml"), &values))
	named := 0
	for _, page := range []string{"docs/how-to/deploy-on-kubernetes.md", "docs/how-to/observe.md", "docs/how-to/encrypt-secrets.md", "docs/how-to/accept-mail-without-a-database.md",
		"docs/explanation/security.md", "docs/reference/alerts.md"} {
		for _, m := range regexp.MustCompile("[`= ]([a-z][A-Za-z]*(?:\\.[a-zA-Z]+)+)\\b").FindAllStringSubmatch(string(readFile(t, "../../"+page)), -1) {
			path := strings.Split(m[1], ".")
			if _, ours := values[path[0]]; !ours || slices.Contains([]string{"md", "yaml", "conf", "sql"}, path[len(path)-1]) {
				continue
			}
			named++
			var at any = values
			for _, part := range path {
				inside, ok := at.(map[string]any)
				require.True(t, ok, "%s: %s", page, m[1])
				require.Contains(t, inside, part, "%s: the chart has no %s", page, m[1])
				at = inside[part]
			}
		}
	}
	require.Greater(t, named, 20)
}
