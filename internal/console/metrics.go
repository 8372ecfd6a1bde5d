package console

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// How somebody signs in.
const (
	byKey     = "key"      // an API key in the form
	byLink    = "link"     // a one-time link
	byOpenID  = "openid"   // the identity provider
	forNewOne = "new_link" // an API key that asks for a one-time link
)

// How a sign-in ends.
const (
	signedIn    = "ok"
	refusedIn   = "refused"     // an unknown key, a used link, a network or a group without a role
	limitedIn   = "limited"     // too many attempts
	unavailable = "unavailable" // the provider or the database
)

type metrics struct {
	signIns *prometheus.CounterVec
	live    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fanmail_console_sign_ins_total",
			Help: "Sign-ins to the console that were tried, by kind (key, link, openid; new_link asks for a link) and result (ok, refused, limited, unavailable).",
		}, []string{"kind", "result"}),
		live: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fanmail_console_live_streams",
			Help: "Live pages of the console that are open.",
		}),
	}
	// rate() misses the first sign-in of a series that begins with it.
	for _, kind := range []string{byKey, byLink, byOpenID, forNewOne} {
		for _, result := range []string{signedIn, refusedIn, limitedIn, unavailable} {
			m.signIns.WithLabelValues(kind, result)
		}
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.signIns, m.live} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("register the console's metrics: %w", err)
		}
	}
	return m, nil
}

// tried counts a sign-in.
func (m *metrics) tried(kind, result string) { m.signIns.WithLabelValues(kind, result).Inc() }
