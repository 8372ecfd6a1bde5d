package chart_test

import (
	"bytes"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/yannh/kubeconform/pkg/validator"

	"github.com/fanmail-dev/fanmail/test/chart"
)

func TestEveryObjectConformsToItsSchema(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, chart.Schemas(t.Context(), dir, "testdata/nack.yaml"))
	v, err := validator.New([]string{chart.Location(dir)}, validator.Opts{Strict: true})
	require.NoError(t, err)
	check := func(doc []byte) validator.Result {
		results := v.Validate("object", io.NopCloser(bytes.NewReader(doc)))
		require.Len(t, results, 1)
		return results[0]
	}
	kinds := map[string]int{}
	for name, args := range values(t) {
		for _, o := range render(t, args...) {
			got := check(o.raw)
			require.Equal(t, validator.Valid, got.Status, "%s: %s %s: %v", name, o.Kind, o.Metadata.Name, got.Err)
			kinds[o.Kind]++
		}
	}
	for _, kind := range []string{
		"Deployment", "StatefulSet", "Job", "Pod", "Service", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount",
		"HorizontalPodAutoscaler", "ServiceMonitor", "PrometheusRule", "ConfigMap", "ScaledObject", "TriggerAuthentication", "Stream", "Consumer", "Secret",
	} {
		require.NotZero(t, kinds[kind], "no set of values renders a %s", kind)
	}

	// The schemas must be able to refuse.
	for why, doc := range map[string]string{
		"unknown field":    "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {portz: []}",
		"wrong type":       "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: two, selector: {}, template: {}}",
		"missing field":    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {replicas: 2}",
		"KEDA":             "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: x}\nspec: {scaleTargetRef: {name: x}, triggers: [{type: cpu}]}",
		"Prometheus":       "apiVersion: monitoring.coreos.com/v1\nkind: ServiceMonitor\nmetadata: {name: x}\nspec: {selector: {}, endpoints: [{prt: a}]}",
		"its rules":        "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata: {name: x}\nspec: {groups: [{name: a, rules: [{alert: b}]}]}",
		"NACK":             "apiVersion: jetstream.nats.io/v1beta2\nkind: Stream\nmetadata: {name: x}\nspec: {name: X, subjects: [a], storage: tape}",
		"kind without one": "apiVersion: v1\nkind: Nonsense\nmetadata: {name: x}",
	} {
		require.NotEqual(t, validator.Valid, check([]byte(doc)).Status, why)
	}
}
