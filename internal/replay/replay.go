package replay

import (
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Mode selects the events that a replay sends.
type Mode string

// The modes.
const (
	// Missed sends the events that a webhook's present filters match and of which it
	// has no successful or pending delivery.
	Missed Mode = "missed"
	// All sends every matching event, also those that were delivered.
	All Mode = "all"
)

// State is the state of a replay.
type State string

// The states.
const (
	Queued     State = "queued"
	Running    State = "running"
	Cancelling State = "cancelling"
	Cancelled  State = "cancelled"
	Completed  State = "completed"
)

// Request describes the replay to create.
type Request struct {
	// Since and Until bound the events' creation times; Until is exclusive. A zero
	// Until, or one in the future, means now.
	Since, Until time.Time
	// WebhookID is the webhook to send to; zero: every enabled one.
	WebhookID events.WebhookID
	// Types and AgentIDs filter the events; empty: all. Types may have patterns, as a webhook's events.
	Types    []events.Type
	AgentIDs []string
	Mode     Mode
}

// selects reports whether the request asks for events of a type.
func (q *Request) selects(t events.Type) bool {
	return len(q.Types) == 0 || slices.ContainsFunc(q.Types, func(w events.Type) bool { return w.Selects(t) })
}

// Replay is a request and its progress.
type Replay struct {
	Request
	ID        events.ReplayID
	TenantID  events.TenantID
	CreatedAt time.Time
	State     State
	// Reading reports whether the replay still reads events. Until it ends, Matched
	// may grow.
	Reading bool
	// Source names the source of the events: "jetstream", "postgres" or "both". It is
	// empty until the first event is read.
	Source string
	// Matched is the number of matching pairs of event and webhook. Enqueued is the
	// number of deliveries inserted for them. Each of these ends in Delivered or Failed.
	Matched, Enqueued, Delivered, Failed int64
	// Waiting is the number of matched pairs that are not enqueued yet.
	Waiting    int64
	FinishedAt *time.Time // nil while it runs

	movedAt time.Time // when it last made progress
}

// Limits of a replay. The error that a limit causes names it.
const (
	// MaxActive is the number of replays of one tenant that may be unfinished at once.
	MaxActive = 10
	// MaxTypes is the number of types and patterns in one replay's filter.
	MaxTypes = 100
	// MaxAgents is the number of agents in one replay's filter.
	MaxAgents = 50
)
