package scheduler

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// CommandKind says what a command asks for.
type CommandKind uint8

// The kinds of commands.
const (
	// Start asks for one attempt of Delivery. Answer with [Scheduler.Finish].
	Start CommandKind = iota + 1
	// Renew asks to extend the lease of Delivery, which would end before its
	// attempt does. Answer with [Scheduler.Renewed].
	Renew
	// Release asks to make the row of Delivery due and to give up its lease.
	// Answer with [Scheduler.Recorded].
	Release
	// EndExpired asks to fail Delivery because its event is no longer kept;
	// EndDeleted because its webhook was deleted. Answer with
	// [Scheduler.Recorded].
	EndExpired
	EndDeleted
	// Fetch asks to lease up to Room due rows of Webhook, and where Strict the
	// row whose turn it is. All Fetch commands between two others are one
	// statement. Answer with [Scheduler.Fetched].
	Fetch
	// Wake asks to call [Scheduler.Advance] at At, instead of at any earlier
	// request's time.
	Wake
	// RoomAvailable says that a lane that refused a delivery as [Busy] has room.
	RoomAvailable
	// Idle says that no attempt is in flight, after [Scheduler.Stop].
	Idle
)

// Command is one thing for the caller to do.
type Command struct {
	Kind     CommandKind
	Strict   bool             // of Fetch
	Delivery *Delivery        // of Start, Renew, Release, EndExpired and EndDeleted
	Webhook  events.WebhookID // of Fetch
	Tenant   events.TenantID  // of Fetch: the webhook's
	Room     int              // of Fetch; at least 1
	At       time.Time        // of Wake
}
