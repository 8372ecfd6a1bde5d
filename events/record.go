package events

import "time"

// Record is an event in the event log without its envelope: the fields that filters and replays compare.
type Record struct {
	ID       ID
	TenantID TenantID
	Type     Type
	// Seq is the event's outbox sequence. For a strict tenant it follows the
	// order of commits.
	Seq int64
	// CreatedAt is the event's creation time by the database's clock, to the
	// microsecond.
	CreatedAt      time.Time
	AgentID        string // "" for none
	ConversationID string // "" for none
	MessageID      string // "" for none
	Labels         []string
}
