package opevents

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	inserted *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	return &metrics{inserted: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "fanmail_opevents_inserted_total",
		Help: "Operational events inserted into the outbox, by type.",
	}, []string{"type"})}
}
