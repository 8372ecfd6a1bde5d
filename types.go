package fanmail

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// The ids. Each prints with its prefix, such as evt_… for an event.
type (
	TenantID   = events.TenantID
	EventID    = events.ID
	WebhookID  = events.WebhookID
	DeliveryID = events.DeliveryID
	ReplayID   = events.ReplayID
	MessageID  = events.MessageID
)

// Event is a fact to tell subscribers of; see [events.Event].
type Event = events.Event

// EventType is a type of the catalogue, such as "email.received", or one of your own, such
// as "order.created"; see [events.Catalogue] and [Client.CreateEventType]. In a webhook's
// Events it may be a pattern, such as "order.*".
type EventType = events.Type

// EventRecord is an event of the log, without its envelope.
type EventRecord = events.Record

// Filters narrow a webhook's events; see [subscribers.Filters].
type Filters = subscribers.Filters

// Ordering is [OrderingNone] or [OrderingStrict].
type Ordering = subscribers.Ordering

// The orderings of a webhook's deliveries. The default is none: best effort. A
// strict webhook gets events in commit order, one at a time; a retry blocks the
// rest.
const (
	OrderingNone   = subscribers.OrderingNone
	OrderingStrict = subscribers.OrderingStrict
)

// EveryType in a webhook's Events selects every event type.
const EveryType = subscribers.EveryType

// Auth are the credentials that a webhook's endpoint asks for; Retry is a webhook's own
// retry policy. Their Type says which of their fields count.
type (
	Auth  = subscribers.Auth
	Retry = subscribers.Retry
)

// The types of [Auth] and of [Retry].
const (
	AuthBasic        = subscribers.AuthBasic
	AuthOAuth2       = subscribers.AuthOAuth2
	AuthMTLS         = subscribers.AuthMTLS
	AuthCreds        = subscribers.AuthCreds
	RetryList        = subscribers.RetryList
	RetryExponential = subscribers.RetryExponential
)

// EnvelopeV04 is the envelope of e2a v0.4, the system that Fanmail's users come from.
const EnvelopeV04 = subscribers.EnvelopeV04

// Masked stands for a secret in what is read of a webhook: a header's value, a
// credential. In a change it means that the secret stays as it is.
const Masked = subscribers.Masked

// Delivery is one event for one webhook; Attempt is one POST of it.
type (
	Delivery = subscribers.DeliveryRow
	Attempt  = subscribers.AttemptRow
)

// DeliveryFilter narrows a list of deliveries; a zero field does not.
type DeliveryFilter = subscribers.DeliveryFilter

// Stats count and measure the deliveries of a webhook or a tenant.
type Stats = subscribers.Stats

// Cursor is a place in a list that is ordered newest first. The zero value is the
// place before the first row; a list returns it when it has ended. The limit of a list
// is from 1 to [MaxList]; another one is a [*FieldError].
type Cursor = subscribers.Place

// Secret is a text that is not printed: in every format it shows as "(hidden)".
type Secret = secret.Text

// FieldError says which field of an input is wrong, and why. UnknownTypeError
// names an event type that is not in the catalogue, and none of the tenant's or
// the operator's. LimitError says that the
// tenant has as many of something as it may have.
type (
	FieldError       = events.FieldError
	UnknownTypeError = events.UnknownTypeError
	// DeletedTenantError means that a tenant was deleted. Events and changes of it are refused.
	DeletedTenantError = events.DeletedTenantError
	LimitError         = subscribers.LimitError
	// RotationLimitError says that 10 previous secrets of a webhook still sign.
	RotationLimitError = subscribers.RotationLimitError
)

// The errors that callers decide by; test with [errors.Is].
var (
	// ErrNotFound: the tenant has no such webhook, delivery, event, replay or
	// agent.
	ErrNotFound = subscribers.ErrNotFound
	// ErrDisabled: the webhook is disabled.
	ErrDisabled = subscribers.ErrDisabled
	// ErrPaused: the webhook is paused.
	ErrPaused = subscribers.ErrPaused
	// ErrPull: the webhook is of [KindPull], so it has no signing secret.
	ErrPull = subscribers.ErrPull
	// ErrPush: the webhook is of [KindPush], so it can't be polled.
	ErrPush = subscribers.ErrPush
	// ErrCooldown: the webhook was disabled automatically less than 5 minutes ago.
	ErrCooldown = subscribers.ErrCooldown
	// ErrDelivered: the delivery is delivered, so there is nothing to retry.
	ErrDelivered = subscribers.ErrDelivered
	// ErrDeleted: the delivery's webhook is deleted.
	ErrDeleted = subscribers.ErrDeleted
	// ErrExpired: the delivery's 30 days are over.
	ErrExpired = subscribers.ErrExpired
	// ErrInFlight: an attempt of the delivery is in flight, or about to start.
	ErrInFlight = subscribers.ErrInFlight
	// ErrAttempts: a retry would give the delivery more attempts than it may have.
	ErrAttempts = subscribers.ErrAttempts
	// ErrCompleted: the replay has ended, so there is nothing to cancel.
	ErrCompleted = replay.ErrCompleted
)

// Kind is how a webhook's deliveries reach their receiver.
type Kind = subscribers.Kind

// The kinds of a webhook.
const (
	KindPush = subscribers.KindPush
	KindPull = subscribers.KindPull
	KindNATS = subscribers.KindNATS
)

// Webhook is a subscriber: a URL and the events that are sent to it.
type Webhook struct {
	// ID, TenantID and the times are set by Fanmail; [Client.CreateWebhook]
	// ignores them.
	ID       WebhookID
	TenantID TenantID

	// Kind is [KindPush] unless set. A webhook of [KindPull] has no URL and nothing that is
	// about POSTs; its deliveries are polled with [Client.Poll]. It never changes.
	Kind Kind
	// URL is where events are POSTed: HTTPS and public, unless [Config] allows
	// more. At most 2,048 bytes. Of [KindNATS], it is that of a broker, such as
	// tls://broker.example.com:4222. Required unless Kind is KindPull.
	URL string
	// Subject is where messages are published at the broker, in a stream of it. Required for
	// KindNATS, and for it alone.
	Subject string
	// Events are the types that it gets, and patterns of types: order.* selects every type
	// that begins with "order.". Required.
	Events []EventType
	// Filters narrow them: by agents, conversations, labels, and conditions on the data.
	Filters Filters
	// Description is for people: one line of at most 200 bytes.
	Description string
	// MaxInFlight bounds the attempts on the wire at once, over all processes:
	// 1 to 4,096; zero: 1,024. Below it the number follows what the endpoint can
	// take.
	MaxInFlight int
	// RateLimit bounds the attempts a second, up to 10,000; zero: no limit.
	RateLimit int
	// Ordering is [OrderingNone] unless set.
	Ordering Ordering
	// Timeout bounds an attempt, from dialling to the end of the answer: 1 to 30 s, in
	// whole seconds; zero: 15 s.
	Timeout time.Duration
	// Retry says when a delivery is attempted again; nil: the default schedule.
	Retry *Retry
	// Headers are sent with each request. At most 20, with 4 KiB of names and values;
	// those that Fanmail sets itself are refused. Reads show [Masked] for the values.
	Headers map[string]string
	// Auth are credentials for the endpoint; nil: none. Reads show [Masked] for its
	// secrets.
	Auth *Auth
	// CA holds certificates in PEM to trust beside the system's.
	CA string
	// Ed25519 gives each request a v1a signature of Standard Webhooks beside the HMAC.
	// PublicKey, which Fanmail sets, verifies it.
	Ed25519   bool
	PublicKey string
	// Disabled: no events are sent. Events that come meanwhile can be replayed.
	Disabled bool
	// Paused: events are fanned out and their deliveries wait, until it is resumed.
	Paused bool
	// Envelope is [EnvelopeV04] for a receiver that can't read Fanmail's envelope yet; "": Fanmail's own. It is sent until
	// EnvelopeUntil, which is at most 366 days from now; nil: 90 days from now.
	Envelope      string
	EnvelopeUntil *time.Time

	CreatedAt       time.Time
	LastDeliveredAt *time.Time // nil: never
	LastPolledAt    *time.Time // nil: never
	AutoDisabledAt  *time.Time // nil: it was not disabled automatically
	DisabledReason  string     // "" where AutoDisabledAt is nil
	PausedAt        *time.Time // nil: it is not paused
	// MissedSince is set by a [Client.ChangeWebhook] that enables the webhook: it was
	// disabled from then on. [Client.PreviewReplay] counts what it missed.
	MissedSince *time.Time

	// SigningSecret may be brought along to [Client.CreateWebhook]: 16 to 200 printable
	// ASCII characters. "": Fanmail makes one, except for KindPull. Its answer has the
	// secret; it cannot be read again.
	SigningSecret string
}

func fromStore(w subscribers.Webhook) Webhook {
	return Webhook{
		ID: w.ID, TenantID: w.TenantID, Kind: w.Kind, URL: w.URL, Subject: w.Subject, Events: w.Events, Filters: w.Filters, Description: w.Description,
		MaxInFlight: w.MaxInFlight, RateLimit: w.RateLimit, Ordering: w.Ordering, Disabled: !w.Enabled, Paused: w.Paused, PausedAt: w.PausedAt, MissedSince: w.MissedSince,
		Timeout: w.Timeout, Retry: w.Retry, Headers: w.Headers, Auth: w.Auth, CA: w.CA, Ed25519: w.Ed25519, PublicKey: w.PublicKey,
		Envelope: w.Envelope, EnvelopeUntil: w.EnvelopeUntil,
		CreatedAt: w.CreatedAt, LastDeliveredAt: w.LastDeliveredAt, LastPolledAt: w.LastPolledAt, AutoDisabledAt: w.AutoDisabledAt, DisabledReason: w.DisabledReason,
	}
}

// WebhookChange is a change of a webhook; [subscribers.Patch] lists its fields. A nil field stays as it is, and a
// RateLimit of 0 removes the limit.
type WebhookChange = subscribers.Patch
