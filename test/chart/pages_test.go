package chart_test

import (
	"os"
	"path/filepath"
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

// TestThePageOfTheChartHasValuesThatRender takes mine.yaml and the Secrets that the page makes.
func TestThePageOfTheChartHasValuesThatRender(t *testing.T) {
	t.Parallel()
	page := string(readFile(t, "../../docs/how-to/deploy-on-kubernetes.md"))
	m := regexp.MustCompile("(?s)as `mine.yaml`:\n +```yaml\n(.*?)\n +```").FindStringSubmatch(page)
	require.NotNil(t, m, "the page has no mine.yaml")
	mine := filepath.Join(t.TempDir(), "mine.yaml")
	require.NoError(t, os.WriteFile(mine, []byte(strings.ReplaceAll("\n"+m[1], "\n   ", "\n")), 0o600))
	objects := render(t, "--values", mine)

	// Those of the other processes are made "the same" way.
	made := map[string]bool{}
	for _, s := range regexp.MustCompile(`kubectl create secret (?:generic|tls) (\S+)`).FindAllStringSubmatch(page, -1) {
		made[s[1]] = true
		for _, process := range []string{"owner", "operator", "dispatcher", "ingest", "api"} {
			made[strings.Replace(s[1], "publisher", process, 1)] = true
		}
	}
	environment := map[string]map[string]string{}
	for name, pod := range pods(t, objects) {
		for _, v := range pod.Spec.Volumes {
			if v.Secret != nil {
				require.True(t, made[v.Secret.SecretName], "%s mounts the Secret %s, which the page does not make", name, v.Secret.SecretName)
			}
		}
		environment[name] = map[string]string{}
		for _, e := range pod.Spec.Containers[0].Env {
			environment[name][e.Name] = e.Value
			if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil {
				require.True(t, made[e.ValueFrom.SecretKeyRef.Name], "%s reads the Secret %s, which the page does not make", name, e.ValueFrom.SecretKeyRef.Name)
			}
		}
	}
	for _, process := range []string{"ingest", "api"} {
		require.Equal(t, "https://fanmail.example.com", environment["Deployment/mx-fanmail-"+process]["FANMAIL_PUBLIC_URL"], process)
	}
	require.Equal(t, "mx.example.com", environment["Deployment/mx-fanmail-ingest"]["FANMAIL_SMTP_DOMAIN"])
	require.NotEmpty(t, environment["Deployment/mx-fanmail-ingest"]["FANMAIL_SMTP_TLS_CERT"])
	require.Equal(t, "10.0.0.0/8", environment["Deployment/mx-fanmail-api"]["FANMAIL_TRUSTED_PROXIES"])
}
