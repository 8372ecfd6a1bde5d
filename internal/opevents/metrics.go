package opevents

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	told *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{told: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "fanmail_opevents_inserted_total",
		Help: "Operational events put into the outbox, by type.",
	}, []string{"type"})}
}
