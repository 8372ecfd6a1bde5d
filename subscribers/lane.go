package subscribers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
)

// LaneState describes one webhook's lane.
type LaneState struct {
	WebhookID events.WebhookID `json:"webhook_id"`
	// Owner is the name of the dispatcher that owns the webhook's partition.
	Owner     string `json:"owner"`
	Partition int    `json:"partition"`
	// State is idle (nothing to do), active, resting (Retry-After or rate
	// limit), probing (the breaker is open) or disabled.
	State string `json:"state"`
	// Window is how many attempts may be in flight just now.
	Window   int `json:"window"`
	InFlight int `json:"in_flight"`
	Queued   int `json:"queued"`
	// PerSecond is the observed rate of attempts that ended.
	PerSecond float64 `json:"per_second"`
	// FailuresInARow of the last attempts.
	FailuresInARow int `json:"failures_in_a_row"`
	// RestsUntil is when the lane goes on; absent where it does not rest.
	RestsUntil *time.Time `json:"rests_until,omitempty"`
	// NextDue is when the table's next delivery is due; absent where none is
	// known.
	NextDue *time.Time `json:"next_due,omitempty"`
	// Backlog is what the table holds for the webhook; nil in the owner's
	// answer, which describes its lane only.
	Backlog *Backlog `json:"backlog,omitempty"`
}

// The states of a lane.
const (
	LaneIdle     = "idle"
	LaneActive   = "active"
	LaneResting  = "resting"
	LaneProbing  = "probing"
	LaneDisabled = "disabled"
)

// ErrNoLaneOwner says that no dispatcher that owns the webhook's partition
// answered. Ask again after a few seconds.
var ErrNoLaneOwner = errors.New("no dispatcher that owns the webhook's partition answered")

// laneTimeout is how long the owner of a partition may take to answer.
const laneTimeout = 2 * time.Second

// Lane gives the state of a webhook's lane, as its owner among the dispatchers
// sees it, and the webhook's backlog. It returns [ErrNotFound] where the tenant
// has no such webhook, and [ErrNoLaneOwner], also where nc is nil.
func (s *Store) Lane(ctx context.Context, nc *nats.Conn, tenant events.TenantID, id events.WebhookID) (LaneState, error) {
	backlog, err := s.Backlog(ctx, tenant, id)
	if err != nil {
		return LaneState{}, err
	}
	if nc == nil {
		return LaneState{}, fmt.Errorf("%w: there is no broker", ErrNoLaneOwner)
	}
	ctx, cancel := context.WithTimeout(ctx, laneTimeout)
	defer cancel()
	answer, err := nc.RequestWithContext(ctx, events.AskLane(id), nil)
	if err != nil {
		return LaneState{}, fmt.Errorf("%w: %w", ErrNoLaneOwner, err)
	}
	var lane LaneState
	if err := json.Unmarshal(answer.Data, &lane); err != nil {
		return LaneState{}, fmt.Errorf("%w: %w", ErrNoLaneOwner, err)
	}
	backlog.Left(lane.PerSecond)
	lane.Backlog = &backlog
	return lane, nil
}
