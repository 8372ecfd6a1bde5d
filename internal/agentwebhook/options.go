package agentwebhook

import (
	"net/netip"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/blobs"
)

// Options configure a [Deliverer]. The zero value is usable.
type Options struct {
	// Slots is how many attempts may be in flight to endpoints that answer within
	// attempt.SlowAfter; zero: 64.
	Slots int
	// SlowSlots is how many attempts may be in flight to slower endpoints; zero:
	// four times Slots.
	SlowSlots int
	// AllowHTTP permits URLs with plain HTTP.
	AllowHTTP bool
	// AllowNetworks are networks that may be dialled although their addresses are
	// not public.
	AllowNetworks []netip.Prefix
	// AllowPorts are ports below 1024 that may be dialled beside 80 and 443.
	AllowPorts []uint16
	// Proxy carries all attempts; nil: none. The environment's proxy is not used.
	Proxy *url.URL
	// ProxyFilters says that the proxy itself refuses what is not public.
	ProxyFilters bool
	// Deprecated is since when the agents' own webhooks are deprecated, for the
	// header Deprecation (RFC 9745). Zero: no header.
	Deprecated time.Time
	// Sunset is when the agents' own webhooks end, for the header Sunset
	// (RFC 8594). Zero: no header.
	Sunset time.Time
	// Blobs holds large raw mails; nil: the database has all.
	Blobs blobs.Store
	// Activity counts the attempts, for the operator's view. Nil: nothing counts.
	Activity *activity.Recorder
	// Drain is the longest time that stopping may take; zero: 20 s.
	Drain      time.Duration
	Log        *zap.Logger           // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// withDefaults returns the options with defaults for the zero values.
func (o Options) withDefaults() Options {
	if o.Slots <= 0 {
		o.Slots = 64
	}
	if o.SlowSlots <= 0 {
		o.SlowSlots = 4 * o.Slots
	}
	if o.Drain <= 0 {
		o.Drain = 20 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o
}
