package chart_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestAlertsAndDashboardAreThoseThatAreTested: what make observability-check
// runs against a real Prometheus is what the chart installs, when asked to.
func TestAlertsAndDashboardAreThoseThatAreTested(t *testing.T) {
	t.Parallel()
	found := map[string]object{}
	for _, o := range render(t, "--set", "prometheusRule.enabled=true", "--set", "prometheusRule.labels.release=p", "--set", "dashboard.enabled=true") {
		found[o.Kind] = o
	}
	var rule struct {
		Metadata struct{ Labels map[string]string }
		Spec     map[string]any
	}
	require.NoError(t, yaml.Unmarshal(found["PrometheusRule"].raw, &rule))
	require.Equal(t, "p", rule.Metadata.Labels["release"])
	var want map[string]any
	b, err := os.ReadFile("../../deploy/observability/alerts.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &want))
	require.NotEmpty(t, want["groups"])
	require.Equal(t, want, rule.Spec)

	dashboard := as[corev1.ConfigMap](t, found["ConfigMap"])
	require.Equal(t, "1", dashboard.Labels["grafana_dashboard"])
	b, err = os.ReadFile("../../deploy/observability/grafana/fanmail.json")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"fanmail.json": string(b)}, dashboard.Data)

	for _, o := range render(t) {
		require.NotContains(t, []string{"PrometheusRule", "ConfigMap", "ServiceMonitor"}, o.Kind, "not unless asked for")
	}
}
