package subscribers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/input"
)

// Limits of a webhook's settings. An error that a limit causes names it.
const (
	// MaxURLBytes bounds the URL.
	MaxURLBytes = 2048
	// MaxDescriptionBytes bounds the description.
	MaxDescriptionBytes = 200
	// DefaultMaxInFlight is how many attempts of a webhook may be in flight at once,
	// over all dispatchers, unless [Limits] or the webhook set another limit. Below
	// it, a dispatcher's window follows what the endpoint can take.
	DefaultMaxInFlight = 1024
	// MaxMaxInFlight is the highest limit that a webhook may set.
	MaxMaxInFlight = 4096
	// MaxRateLimit is the highest rate limit, in attempts a second.
	MaxRateLimit = 10_000
	// RotationGrace is how long the old secret still signs after a rotation.
	RotationGrace = 24 * time.Hour
	// ReenableCooldown is how long after an automatic disabling a webhook cannot be
	// enabled.
	ReenableCooldown = 5 * time.Minute
)

// Ordering is the order of a webhook's deliveries.
type Ordering string

// The orderings.
const (
	// OrderingNone sends events in parallel, in their order as a rule.
	OrderingNone Ordering = "none"
	// OrderingStrict sends events one at a time in commit order. A delivery that
	// waits for a retry holds up the later ones.
	OrderingStrict Ordering = "strict"
)

// The names of the filters.
const (
	filterAgents        = "agent_ids"
	filterConversations = "conversation_ids"
	filterLabels        = "labels"
)

// Filters select events. An event must match each field that is not empty, by any of
// the field's values. The zero value selects all events.
type Filters struct {
	AgentIDs        []string `json:"agent_ids,omitempty"` // addresses of agents
	ConversationIDs []string `json:"conversation_ids,omitempty"`
	Labels          []string `json:"labels,omitempty"`
}

// Match reports whether an event with these values passes. If a filter is set and the
// event has no value for it, the event does not pass.
func (f *Filters) Match(agentID, conversationID string, labels []string) bool {
	return f.refuses(agentID, conversationID, labels) == ""
}

// refuses returns the name of the first filter that an event does not pass; "" if it passes all.
func (f *Filters) refuses(agentID, conversationID string, labels []string) string {
	switch {
	case len(f.AgentIDs) > 0 && (agentID == "" || !slices.Contains(f.AgentIDs, agentID)):
		return filterAgents
	case len(f.ConversationIDs) > 0 && (conversationID == "" || !slices.Contains(f.ConversationIDs, conversationID)):
		return filterConversations
	case len(f.Labels) > 0 && !slices.ContainsFunc(labels, func(l string) bool { return slices.Contains(f.Labels, l) }):
		return filterLabels
	}
	return ""
}

// Webhook is a subscriber: where to send which events. What a [Store] returns holds no
// secret: [Masked] stands for each. All times are in UTC.
type Webhook struct {
	ID              events.WebhookID
	TenantID        events.TenantID
	URL             string
	Description     string
	Events          []events.Type // or [EveryType] alone
	Filters         Filters
	Enabled         bool
	MaxInFlight     int // attempts, over all dispatchers
	RateLimit       int // attempts a second; 0 for none
	Ordering        Ordering
	Timeout         time.Duration     // of an attempt; 0 for [DefaultTimeout]
	Retry           *Retry            // nil for the default schedule
	Headers         map[string]string // sent with each request
	Auth            *Auth             // nil for none
	CA              string            // certificates in PEM to trust beside the system's; "" for none
	Ed25519         bool              // requests have a v1a signature too
	Envelope        string            // [EnvelopeV04], or "" for Fanmail's own
	EnvelopeUntil   *time.Time        // from when on it gets Fanmail's own; nil without Envelope
	PublicKey       string            // verifies it, "whpk_…"; set by the store, "" without Ed25519
	CreatedAt       time.Time
	LastDeliveredAt *time.Time // the last success; nil before the first
	Paused          bool       // its events are fanned out, and their deliveries wait
	PausedAt        *time.Time // nil unless it is paused
	DisabledAt      *time.Time // nil while it is enabled, and where that is not known
	AutoDisabledAt  *time.Time // nil unless Fanmail disabled it
	DisabledReason  string     // "" unless Fanmail disabled it

	// SigningSecret is brought along at creation; "": [Store.Create] makes one. It is
	// never read.
	SigningSecret string

	// MissedSince is set by an [Store.Update] that enables the webhook: it was disabled
	// from then on. Nil otherwise, and where that is not known.
	MissedSince *time.Time

	signingKey string // the private key of Ed25519; "": none
}

// Limits are the operator's limits for webhooks. The zero value has the defaults.
type Limits struct {
	// WebhooksPerTenant is how many webhooks a tenant may have; zero means 50.
	WebhooksPerTenant int
	// IDsPerFilter bounds the values of each field of [Filters]; zero means 50.
	IDsPerFilter int
	// MaxInFlight is the MaxInFlight of new webhooks that set none; zero means
	// [DefaultMaxInFlight].
	MaxInFlight int
	// AllowHTTP accepts URLs with the scheme http.
	AllowHTTP bool
	// AllowNetworks are networks that are not public and whose addresses are allowed
	// as the host of a URL.
	AllowNetworks []netip.Prefix
	// AllowPorts are ports below 1024 that a URL may name beside 80 and 443.
	AllowPorts []uint16
}

// WithDefaults returns the limits with defaults in place of zero values.
func (l Limits) WithDefaults() Limits {
	if l.WebhooksPerTenant <= 0 {
		l.WebhooksPerTenant = 50
	}
	if l.IDsPerFilter <= 0 {
		l.IDsPerFilter = 50
	}
	if l.MaxInFlight <= 0 {
		l.MaxInFlight = DefaultMaxInFlight
	}
	return l
}

// Validate checks a webhook's settings but Headers, Auth and CA, which a [Store] checks
// when it stores them. It returns an [*events.FieldError] for the first bad setting. A
// URL may be in any form that [Limits.NormalizeURL] accepts.
func (w *Webhook) Validate(l Limits) error {
	l = l.WithDefaults()
	if _, err := l.NormalizeURL("url", w.URL); err != nil {
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
	if wrong := input.Text(w.Description); wrong != "" {
		return fault("description", "%s", wrong)
	}
	if len(w.Events) == 0 {
		return fault("events", "names no event type")
	}
	for _, t := range w.Events {
		if t != EveryType && !t.Known() {
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
			if wrong := input.Text(id); wrong != "" {
				return fault(f.name, "holds a value that %s", wrong)
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
	if err := CheckSecret(w.SigningSecret); err != nil {
		return err
	}
	if err := checkEnvelope(w.Envelope, w.EnvelopeUntil, time.Now()); err != nil {
		return err
	}
	return checkAttempts(w.Timeout, w.Retry)
}

// normalizeEnvelope sets the time that an older envelope ends, if none is set.
func (w *Webhook) normalizeEnvelope(now time.Time) {
	switch {
	case w.Envelope == "":
		w.EnvelopeUntil = nil
	case w.EnvelopeUntil == nil:
		until := now.Add(EnvelopePeriod).UTC().Truncate(time.Second)
		w.EnvelopeUntil = &until
	default:
		until := w.EnvelopeUntil.UTC().Truncate(time.Microsecond)
		w.EnvelopeUntil = &until
	}
}

// NormalizeURL checks the URL of a webhook and returns the form of it that is stored,
// shown and sent: trimmed, the host in lower-case ASCII, without a default port, and
// with characters escaped that a URL can't hold. It does not resolve host names: each
// attempt checks the address that it connects to. The error is an [*events.FieldError]
// with the given field.
func (l Limits) NormalizeURL(field, raw string) (string, error) {
	tooLong := func(n int) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf("has %d bytes; the limit is %d", n, MaxURLBytes)}
	}
	if len(raw) > MaxURLBytes {
		return "", tooLong(len(raw))
	}
	normal, err := attempt.Guard{Networks: l.AllowNetworks, Ports: l.AllowPorts}.NormalizeURL(raw, l.AllowHTTP)
	if err != nil {
		return "", &events.FieldError{Field: field, Reason: err.Error()}
	}
	if len(normal) > MaxURLBytes { // escaping has lengthened it
		return "", tooLong(len(normal))
	}
	return normal, nil
}
