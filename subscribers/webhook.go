package subscribers

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/internal/datafilter"
	"github.com/fanmail-dev/fanmail/internal/input"
)

// Limits of a webhook's settings. An error that a limit causes names it.
const (
	// MaxURLBytes bounds the URL.
	MaxURLBytes = 2048
	// MaxEvents bounds the types and patterns.
	MaxEvents = 100
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

// Kind is how a webhook's deliveries reach their receiver. It never changes.
type Kind string

// The kinds.
const (
	// KindPush webhooks have a URL, to which Fanmail POSTs.
	KindPush Kind = "push"
	// KindPull webhooks have no URL: consumers poll their deliveries, and acknowledge them.
	KindPull Kind = "pull"
	// KindNATS webhooks have the URL of a NATS broker and a subject, to which Fanmail publishes. JetStream's
	// acknowledgement is the success.
	KindNATS Kind = "nats"
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
	filterData          = "data"
)

// Filters select events. An event must match each field that is not empty: a list by any of its values, Data by all of
// its conditions. An event that has no value for a field does not match. The zero value selects all events.
type Filters struct {
	AgentIDs        []string `json:"agent_ids,omitempty"` // addresses of agents
	ConversationIDs []string `json:"conversation_ids,omitempty"`
	Labels          []string `json:"labels,omitempty"`
	// Data are conditions on the event's data, by path: {"amount": {"gte": 10}, "kind": "order"}. What a [Store] returns
	// is in a normal form. docs/reference/filters.md has all operators.
	Data json.RawMessage `json:"data,omitempty"`
}

// refuses returns the name of the first filter that an event does not pass, but for the one on data; "" if it passes all.
func (f *Filters) refuses(ev *events.Record) string {
	switch {
	case len(f.AgentIDs) > 0 && (ev.AgentID == "" || !slices.Contains(f.AgentIDs, ev.AgentID)):
		return filterAgents
	case len(f.ConversationIDs) > 0 && (ev.ConversationID == "" || !slices.Contains(f.ConversationIDs, ev.ConversationID)):
		return filterConversations
	case len(f.Labels) > 0 && !slices.ContainsFunc(ev.Labels, func(l string) bool { return slices.Contains(f.Labels, l) }):
		return filterLabels
	}
	return ""
}

// storedData reads the stored filter on data; nil for none. With an error it is one that no event passes.
func storedData(f *Filters) (*datafilter.Filter, error) {
	data, err := datafilter.Parse("filters."+filterData, f.Data, math.MaxInt)
	if err != nil {
		return datafilter.Broken(), err
	}
	return data, nil
}

// Webhook is a subscriber: where to send which events. What a [Store] returns holds no
// secret: [Masked] stands for each. All times are in UTC.
type Webhook struct {
	ID              events.WebhookID
	TenantID        events.TenantID
	Kind            Kind   // [KindPush], [KindPull] or [KindNATS]
	URL             string // "" of KindPull
	Subject         string // of KindNATS
	Description     string
	Events          []events.Type // and patterns, such as order.*; or [EveryType] alone
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
	LastPolledAt    *time.Time // the last poll, to some seconds; nil before the first
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
	// IDsPerFilter bounds the values of each field of [Filters]; zero means 50. In Data, each operator has a value.
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
	if err := w.checkURL(l); err != nil {
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
	if err := checkEvents(w.Events); err != nil {
		return err
	}
	if err := w.Filters.validate(l); err != nil {
		return err
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

// checkEvents checks the types and patterns of a webhook. Whether own types exist is not its concern.
func checkEvents(types []events.Type) error {
	fault := func(field, format string, args ...any) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	if len(types) == 0 {
		return fault("events", "names no event type")
	}
	if len(types) > MaxEvents {
		return fault("events", "has %d types and patterns; the limit is %d", len(types), MaxEvents)
	}
	for i, t := range types {
		if wrong := t.CheckSelector(); wrong != "" {
			return fault(fmt.Sprintf("events[%d]", i), "%s", wrong)
		}
	}
	return nil
}

// validate returns an [*events.FieldError] for the first bad value.
func (f *Filters) validate(l Limits) error {
	fault := func(field, format string, args ...any) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf(format, args...)}
	}
	for _, list := range []struct {
		name string
		ids  []string
	}{{"filters.agent_ids", f.AgentIDs}, {"filters.conversation_ids", f.ConversationIDs}, {"filters.labels", f.Labels}} {
		if len(list.ids) > l.IDsPerFilter {
			return fault(list.name, "has %d values; the limit is %d", len(list.ids), l.IDsPerFilter)
		}
		for _, id := range list.ids {
			if id == "" || len(id) > events.MaxKeyBytes || strings.Contains(id, "\x00") {
				return fault(list.name, "holds an empty value, a NUL byte or one of over %d bytes", events.MaxKeyBytes)
			}
			if wrong := input.Text(id); wrong != "" {
				return fault(list.name, "holds a value that %s", wrong)
			}
		}
	}
	_, err := datafilter.Parse("filters."+filterData, f.Data, l.IDsPerFilter)
	return err
}

// checkURL checks the URL, which a webhook that is polled has not.
func (w *Webhook) checkURL(l Limits) error {
	if w.Kind == KindPull {
		return nil
	}
	_, err := l.normalizeWebhookURL(w.URL)
	return err
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
	return l.normalizeURL(field, raw, attempt.Guard.NormalizeURL)
}

// normalizeWebhookURL is the same for the URL of a webhook, which may be that of a broker.
func (l Limits) normalizeWebhookURL(raw string) (string, error) {
	if attempt.BrokerURL(raw) {
		return l.normalizeURL("url", raw, attempt.Guard.NormalizeBroker)
	}
	return l.NormalizeURL("url", raw)
}

func (l Limits) normalizeURL(field, raw string, normalize func(attempt.Guard, string, bool) (string, error)) (string, error) {
	tooLong := func(n int) error {
		return &events.FieldError{Field: field, Reason: fmt.Sprintf("has %d bytes; the limit is %d", n, MaxURLBytes)}
	}
	if len(raw) > MaxURLBytes {
		return "", tooLong(len(raw))
	}
	normal, err := normalize(attempt.Guard{Networks: l.AllowNetworks, Ports: l.AllowPorts}, raw, l.AllowHTTP)
	if err != nil {
		return "", &events.FieldError{Field: field, Reason: err.Error()}
	}
	if len(normal) > MaxURLBytes { // escaping has lengthened it
		return "", tooLong(len(normal))
	}
	return normal, nil
}
