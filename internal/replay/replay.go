package replay

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Mode says which events a replay sends.
type Mode string

// The modes.
const (
	// Missed sends what a webhook should have had, by its filters as they are
	// now, and has had no success with.
	Missed Mode = "missed"
	// All sends everything again.
	All Mode = "all"
)

// State is how far a replay is.
type State string

// The states.
const (
	Queued     State = "queued"
	Running    State = "running"
	Cancelling State = "cancelling"
	Cancelled  State = "cancelled"
	Completed  State = "completed"
)

// Request is what somebody wants replayed.
type Request struct {
	// Since and Until bound the events' creation times, Until excluded. A zero
	// Until, or one in the future, means now.
	Since, Until time.Time
	// WebhookID is the webhook to send to; zero: every enabled one.
	WebhookID events.WebhookID
	// Types and AgentIDs narrow the events; empty: all.
	Types    []events.Type
	AgentIDs []string
	Mode     Mode
}

// Replay is a request and how far it is.
type Replay struct {
	Request
	ID        events.ReplayID
	TenantID  events.TenantID
	CreatedAt time.Time
	State     State
	// Reading says that events are still being looked for, so that Matched is
	// not final.
	Reading bool
	// Source is where the events came from: "jetstream", "postgres", "both", or
	// "" where none was read yet.
	Source string
	// Matched counts pairs of an event and a webhook that match, Enqueued the
	// deliveries made of them. Each of these ends in Delivered or Failed.
	Matched, Enqueued, Delivered, Failed int64
	// Waiting are pairs that were found and are yet to be enqueued.
	Waiting    int64
	FinishedAt *time.Time // nil while it runs
}

// Limits of a replay. Each is named in the error that it causes.
const (
	// MaxActive replays of one tenant may be unfinished at once.
	MaxActive = 10
	// MaxAgents bounds the agents that one replay names.
	MaxAgents = 50
)
