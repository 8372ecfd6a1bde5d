package subscribers

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
)

// Limits of a webhook. Each is named in the error that it causes.
const (
	MaxURLBytes         = 2048
	MaxDescriptionBytes = 200
	// DefaultMaxInFlight is how many attempts of one webhook may be on the
	// wire at once, over all dispatchers, unless the webhook sets another limit.
	DefaultMaxInFlight = 32
	MaxMaxInFlight     = 256
	MaxRateLimit       = 10_000
	// RotationGrace is how long a rotated secret still signs.
	RotationGrace = 24 * time.Hour
	// ReenableCooldown is how long an automatically disabled webhook cannot be enabled.
	ReenableCooldown = 5 * time.Minute
)

// Ordering of a webhook's deliveries.
type Ordering string

// The orderings.
const (
	OrderingNone   Ordering = "none"
	OrderingStrict Ordering = "strict"
)

// Filters narrow a webhook's events: AND across the keys, OR within one. An
// empty key does not constrain.
type Filters struct {
	AgentIDs        []string `json:"agent_ids,omitempty"`
	ConversationIDs []string `json:"conversation_ids,omitempty"`
	Labels          []string `json:"labels,omitempty"`
}

// Match says whether an event with these values passes. A filter on something
// that the event has no value for does not match.
func (f *Filters) Match(agentID, conversationID string, labels []string) bool {
	if len(f.AgentIDs) > 0 && (agentID == "" || !slices.Contains(f.AgentIDs, agentID)) {
		return false
	}
	if len(f.ConversationIDs) > 0 && (conversationID == "" || !slices.Contains(f.ConversationIDs, conversationID)) {
		return false
	}
	if len(f.Labels) > 0 && !slices.ContainsFunc(labels, func(l string) bool { return slices.Contains(f.Labels, l) }) {
		return false
	}
	return true
}

// Webhook is a subscriber. It holds no secret.
type Webhook struct {
	ID              events.WebhookID
	TenantID        events.TenantID
	URL             string
	Description     string
	Events          []events.Type
	Filters         Filters
	Enabled         bool
	MaxInFlight     int
	RateLimit       int // a second; 0: none
	Ordering        Ordering
	CreatedAt       time.Time
	LastDeliveredAt *time.Time
	AutoDisabledAt  *time.Time
	DisabledReason  string
}

// Limits are the operator's choices for webhooks.
type Limits struct {
	// WebhooksPerTenant; zero means 50.
	WebhooksPerTenant int
	// IDsPerFilter bounds each key of a filter; zero means 50.
	IDsPerFilter int
	// AllowHTTP accepts plain HTTP URLs.
	AllowHTTP bool
	// AllowNetworks are networks that URLs may name by address although they
	// are not public.
	AllowNetworks []netip.Prefix
}

// WithDefaults fills in the zero values.
func (l Limits) WithDefaults() Limits {
	if l.WebhooksPerTenant <= 0 {
		l.WebhooksPerTenant = 50
	}
	if l.IDsPerFilter <= 0 {
		l.IDsPerFilter = 50
	}
	return l
}

// Validate checks a webhook's settings. It returns an [*events.FieldError] for
// the first fault.
func (w *Webhook) Validate(l Limits) error {
	l = l.WithDefaults()
	if err := l.ValidateURL("url", w.URL); err != nil {
		return err
	}
	fault := func(field, format string, args ...any) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	if len(w.Description) > MaxDescriptionBytes {
		return fault("description", "has %d bytes; the limit is %d", len(w.Description), MaxDescriptionBytes)
	}
	if strings.ContainsAny(w.Description, "\r\n\x00") {
		return fault("description", "holds a line break or a NUL byte")
	}
	if len(w.Events) == 0 {
		return fault("events", "names no event type")
	}
	for _, t := range w.Events {
		if !t.Known() {
			return fault("events", "%s", (&events.UnknownTypeError{Type: t}).Error())
		}
	}
	for _, f := range []struct {
		name string
		ids  []string
	}{{"filters.agent_ids", w.Filters.AgentIDs}, {"filters.conversation_ids", w.Filters.ConversationIDs}, {"filters.labels", w.Filters.Labels}} {
		if len(f.ids) > l.IDsPerFilter {
			return fault(f.name, "has %d values; the limit is %d", len(f.ids), l.IDsPerFilter)
		}
		for _, id := range f.ids {
			if id == "" || len(id) > events.MaxKeyBytes || strings.Contains(id, "\x00") {
				return fault(f.name, "holds an empty value, a NUL byte or one of over %d bytes", events.MaxKeyBytes)
			}
		}
	}
	if w.MaxInFlight < 1 || w.MaxInFlight > MaxMaxInFlight {
		return fault("max_in_flight", "is %d; it must be from 1 to %d", w.MaxInFlight, MaxMaxInFlight)
	}
	if w.RateLimit < 0 || w.RateLimit > MaxRateLimit {
		return fault("rate_limit", "is %d a second; it must be from 1 to %d, or absent", w.RateLimit, MaxRateLimit)
	}
	if w.Ordering != OrderingNone && w.Ordering != OrderingStrict {
		return fault("ordering", "is %q; it must be \"none\" or \"strict\"", w.Ordering)
	}
	return nil
}

// ValidateURL checks a URL that is to be POSTed to. What a host name resolves
// to is checked when it is dialled, not here.
func (l Limits) ValidateURL(field, raw string) error {
	fault := func(format string, args ...any) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	if len(raw) > MaxURLBytes {
		return fault("has %d bytes; the limit is %d", len(raw), MaxURLBytes)
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return fault("is not an absolute URL with a host")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return fault("must be an https URL")
	case u.Scheme == "http" && !l.AllowHTTP:
		return fault("must be an https URL; plain http is off (FANMAIL_ALLOW_HTTP)")
	case u.User != nil:
		return fault("must not hold credentials")
	case u.Fragment != "":
		return fault("must not hold a fragment")
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if addr, err := netip.ParseAddr(host); err == nil && !l.allowed(addr) {
		return fault("names an address that is not public; the operator can allow its network (FANMAIL_ALLOW_NETWORKS)")
	}
	if (host == "localhost" || strings.HasSuffix(host, ".localhost")) && !l.allowed(netip.MustParseAddr("127.0.0.1")) {
		return fault("names this machine; the operator can allow its network (FANMAIL_ALLOW_NETWORKS)")
	}
	return nil
}

func (l Limits) allowed(a netip.Addr) bool { return attempt.Reachable(l.AllowNetworks, a) }
