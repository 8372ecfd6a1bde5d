package chart_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestAlertsAndDashboardAreThoseThatAreTested: the chart installs, on request, what make
// observability-check runs on a real Prometheus.
func TestAlertsAndDashboardAreThoseThatAreTested(t *testing.T) {
	t.Parallel()
	found := map[string]object{}
	for _, o := range render(t, "--set", "prometheusRule.enabled=true", "--set", "prometheusRule.labels.release=p", "--set", "dashboard.enabled=true") {
		found[o.Kind+" "+o.Metadata.Name] = o
	}
	var rule struct {
		Metadata struct{ Labels map[string]string }
		Spec     map[string]any
	}
	require.NoError(t, yaml.Unmarshal(found["PrometheusRule mx-fanmail"].raw, &rule))
	require.Equal(t, "p", rule.Metadata.Labels["release"])
	var want map[string]any
	b, err := os.ReadFile("../../deploy/observability/alerts.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &want))
	require.NotEmpty(t, want["groups"])
	require.Equal(t, want, rule.Spec)

	dashboard := as[corev1.ConfigMap](t, found["ConfigMap mx-fanmail-dashboard"])
	require.Equal(t, "1", dashboard.Labels["grafana_dashboard"])
	b, err = os.ReadFile("../../deploy/observability/grafana/fanmail.json")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"fanmail.json": string(b)}, dashboard.Data)

	for _, o := range render(t) {
		require.NotContains(t, []string{"PrometheusRule", "ServiceMonitor"}, o.Kind, "not unless asked for")
		require.NotEqual(t, "mx-fanmail-dashboard", o.Metadata.Name, "not unless asked for")
	}
}

// TestPrometheusFindsEveryProcess: each process with metrics has a ServiceMonitor whose selector
// matches its Service, and the job name that the alerts expect.
func TestPrometheusFindsEveryProcess(t *testing.T) {
	t.Parallel()
	for name, args := range values(t) {
		objects := render(t, append(args, "--set", "serviceMonitor.enabled=true")...)
		serving, watched := map[string]int32{}, map[string]bool{}
		for pod, p := range pods(t, objects) {
			for _, port := range p.Spec.Containers[0].Ports {
				if port.Name == "status" {
					serving[p.Labels["app.kubernetes.io/component"]] = port.ContainerPort
				}
			}
			require.True(t, !strings.HasPrefix(pod, "Deployment/") || serving[p.Labels["app.kubernetes.io/component"]] != 0, "%s: %s is not watched", name, pod)
		}
		services := map[string]corev1.Service{}
		for _, o := range objects {
			if o.Kind == "Service" {
				services[o.Metadata.Name] = as[corev1.Service](t, o)
			}
		}
		for _, o := range objects {
			if o.Kind != "ServiceMonitor" {
				continue
			}
			var m struct {
				Spec struct {
					Selector  struct{ MatchLabels map[string]string }
					Endpoints []struct {
						Port        string
						Relabelings []struct{ TargetLabel, Replacement string }
					}
				}
			}
			require.NoError(t, yaml.Unmarshal(o.raw, &m))
			component := m.Spec.Selector.MatchLabels["app.kubernetes.io/component"]
			s := services[o.Metadata.Name+"-status"]
			require.True(t, containsAll(s.Labels, m.Spec.Selector.MatchLabels), "%s: %s", name, component)
			require.Equal(t, m.Spec.Endpoints[0].Port, s.Spec.Ports[0].Name)
			require.Equal(t, serving[component], s.Spec.Ports[0].Port, component)
			require.Equal(t, "fanmail-"+component, m.Spec.Endpoints[0].Relabelings[0].Replacement)
			watched[component] = true
		}
		require.Len(t, watched, len(serving), "%s: %v", name, watched)
	}
}
