package dispatch

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/activity"
)

// TestMetricsNameTheTenantThatFloodsAndNobodyElse: a thousand others are one series.
func TestMetricsNameTheTenantThatFloodsAndNobodyElse(t *testing.T) {
	t.Parallel()
	lately := activity.NewRecorder()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newTenantRates(lately))
	read := func() map[string]float64 {
		families, err := registry.Gather()
		require.NoError(t, err)
		out := map[string]float64{}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				out[f.GetName()+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
		return out
	}
	const attempts, fannedOut = "fanmail_dispatch_tenant_attempts_per_second ", "fanmail_dispatch_tenant_events_per_second "
	require.Equal(t, map[string]float64{attempts: 0, fannedOut: 0}, read())
	flood, hook := events.NewRandom[events.TenantKind](), events.NewRandom[events.WebhookKind]()
	for range 1000 {
		other := events.NewRandom[events.TenantKind]()
		lately.Event(other, "", 1)
		lately.Began(other, hook, "")
		lately.Ended(other, hook, "", activity.Delivered, 1)
		lately.Event(flood, "", 1)
	}
	got := read()
	require.Len(t, got, 3)
	require.Positive(t, got[fannedOut+flood.String()])
	require.Positive(t, got[attempts])
	require.NotContains(t, got, attempts+flood.String(), "it makes no attempts")
}
