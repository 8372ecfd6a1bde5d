package dispatch

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

const defaultDrain = 20 * time.Second

// Options configure a dispatcher. The zero value is usable.
type Options struct {
	// Name of this replica, for people. Defaults to the host's name.
	Name string
	// Slots bounds the attempts in flight to endpoints that answer within a
	// second. The default follows the process's memory limit and file
	// descriptors: 64 to 4,096. SlowSlots is the same for slower ones. Defaults
	// to four times Slots.
	Slots, SlowSlots int
	// AllowHTTP sends to plain HTTP URLs too.
	AllowHTTP bool
	// AllowNetworks are networks that may be dialled although they are not
	// public.
	AllowNetworks []netip.Prefix
	// AllowPorts are ports below 1024 that may be dialled beside 80 and 443.
	AllowPorts []uint16
	// Proxy for all attempts; nil: none. The environment's proxy is not used.
	Proxy *url.URL
	// ProxyFilters says that the proxy itself refuses what is not public.
	ProxyFilters bool
	// Drain bounds how long a stop takes. Defaults to 20 s.
	Drain time.Duration
	// Streams configure the streams that are made where the broker lost them.
	Streams    stream.Options
	Log        *zap.Logger           // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
	// Tracer makes the spans of traced events. Nil: none are made, and
	// receivers get no traceparent header.
	Tracer trace.Tracer
	// Activity counts the attempts, for the operator's view. Nil: nothing counts.
	Activity *activity.Recorder
	// PastBroker says that events are taken from the outbox, because the broker does not
	// deliver them. Nil: never.
	PastBroker func() bool
	// OldEnvelope returns an event's envelope in the form that webhooks with an older envelope get. release is called once
	// it is sent. An error that wraps [ErrLost] ends the delivery; after any other it is tried again, and no attempt is
	// counted. Nil: such webhooks get the stored envelope.
	OldEnvelope func(ctx context.Context, tenant events.TenantID, envelope []byte) (old []byte, release func(), err error)

	conns      int // at most, to endpoints; 0: no bound
	http2Conns int // of them, at most
}

// withDefaults checks the options and fills in the defaults.
func (o Options) withDefaults() (Options, error) {
	if o.Slots < 0 || o.SlowSlots < 0 {
		return o, errors.New("make a dispatcher: slots must not be negative")
	}
	memory, descriptors := processLimits()
	if o.Slots == 0 {
		o.Slots = defaultSlots(memory, descriptors)
	}
	o.conns, o.http2Conns = mostConns(descriptors), mostHTTP2Conns(memory)
	if o.SlowSlots == 0 {
		o.SlowSlots = slowSlotsPerSlot * o.Slots
	}
	if o.Drain <= 0 {
		o.Drain = defaultDrain
	}
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return o, nil
}
