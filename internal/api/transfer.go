package api

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// An export is a text of JSON Lines: a head, the tenant's objects as the API shows them, and an end with counts. Each
// object is a line of its kind. [ImportTenant] reads it.

// exportFormat and exportVersion name the format of an export. The version grows when a reader of the one before would
// lose something.
const (
	exportFormat  = "fanmail-export"
	exportVersion = 1
)

// The kinds of lines, in their order. The message of an event follows it at once.
const (
	kindHead    = "export"
	kindQuota   = "quota"
	kindType    = "event_type"
	kindDomain  = "domain"
	kindAgent   = "agent"
	kindWebhook = "webhook"
	kindEvent   = "event"
	kindMessage = "message"
	kindEnd     = "end"
)

// exportHead is the first line.
type exportHead struct {
	Kind      string         `json:"kind"`
	Format    string         `json:"format"`
	Version   int            `json:"version"`
	CreatedAt time.Time      `json:"created_at"`
	Tenant    tenancy.Tenant `json:"tenant"`
	What      string         `json:"what"`
	Since     *time.Time     `json:"since,omitempty"` // of events
	Until     *time.Time     `json:"until,omitempty"`
}

// exportLine is an object.
type exportLine[T any] struct {
	Kind string `json:"kind"`
	Data T      `json:"data"`
}

// exportEnd is the last line. It has a count for each kind, so that a text that was cut off is known as such.
type exportEnd struct {
	Kind   string           `json:"kind"`
	Counts map[string]int64 `json:"counts"`
}

// exportedEvent is an event with its envelope, whose text is byte for byte the body of the POST.
type exportedEvent struct {
	Event
	// Replayed is false for an event that replays leave out, such as that of a test of one webhook.
	Replayed bool   `json:"replayed"`
	Envelope string `json:"envelope"`
}

// exportedMessage is a message without its raw mail.
type exportedMessage struct {
	ID        events.MessageID `json:"id"`
	AgentID   string           `json:"agent_id"`
	EventID   events.ID        `json:"event_id"`
	CreatedAt time.Time        `json:"created_at"`
	Size      int64            `json:"size"`
}
