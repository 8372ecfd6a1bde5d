package health

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	failingDesc = prometheus.NewDesc("fanmail_component_failing", "1 while the last try of the component failed; else 0.", []string{"component"}, nil)
	successDesc = prometheus.NewDesc("fanmail_component_last_success_timestamp_seconds", "When the component last succeeded; 0 before the first time.", []string{"component"}, nil)
	errorDesc   = prometheus.NewDesc("fanmail_component_last_error_timestamp_seconds", "When the component last met an error, by the error's code in docs/reference/faults.md; 0 before the first.", []string{"component", "code"}, nil)
)

// Describe implements [prometheus.Collector].
func (r *Registry) Describe(to chan<- *prometheus.Desc) {
	to <- failingDesc
	to <- successDesc
	to <- errorDesc
}

// Collect implements [prometheus.Collector].
func (r *Registry) Collect(to chan<- prometheus.Metric) {
	for _, s := range r.States() {
		failing := 0.0
		if s.Status == Failing {
			failing = 1
		}
		to <- prometheus.MustNewConstMetric(failingDesc, prometheus.GaugeValue, failing, s.Name)
		to <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, seconds(s.LastSuccess), s.Name)
		to <- prometheus.MustNewConstMetric(errorDesc, prometheus.GaugeValue, seconds(s.LastError), s.Name, s.Code)
	}
}

// seconds returns a time in Unix seconds; 0 for the zero time.
func seconds(at time.Time) float64 {
	if at.IsZero() {
		return 0
	}
	return float64(at.UnixMilli()) / 1000
}
