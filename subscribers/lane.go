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

// LaneState is the state of one webhook's lane: its queue in the memory of the
// dispatcher that owns its partition.
type LaneState struct {
	WebhookID events.WebhookID `json:"webhook_id"`
	// Owner is the name of the dispatcher that owns the webhook's partition.
	Owner string `json:"owner" doc:"The name of the dispatcher that owns the webhook's partition."`
	// Partition is from 0 to [events.Partitions] - 1.
	Partition int `json:"partition" doc:"The webhook's partition."`
	// State is one of [LaneIdle], [LaneActive], [LaneResting], [LaneProbing],
	// [LanePaused], [LanePolled] and [LaneDisabled].
	State string `json:"state" enum:"idle,active,resting,probing,paused,polled,disabled" doc:"What the lane does: idle has nothing to send, active sends, resting waits for Retry-After or the rate limit, probing sends one attempt at a time because the circuit breaker is open, paused keeps deliveries until the webhook is resumed, polled leaves them to consumers, disabled sends nothing."`
	// Window is how many attempts may be in flight now.
	Window int `json:"window" doc:"How many attempts may be in flight now; it adapts to the endpoint's answers."`
	// InFlight counts the attempts that are in flight.
	InFlight int `json:"in_flight" doc:"The attempts that are in flight."`
	// Queued counts the deliveries that wait in the dispatcher's memory.
	Queued int `json:"queued" doc:"The deliveries that wait in the dispatcher's memory."`
	// PerSecond is the observed rate: attempts that ended, a second.
	PerSecond float64 `json:"per_second" doc:"How many attempts a second have ended lately."`
	// FailuresInARow counts the failed attempts since the last success.
	FailuresInARow int `json:"failures_in_a_row" doc:"The failed attempts since the last success."`
	// RestsUntil is when the lane sends again; nil unless it rests.
	RestsUntil *time.Time `json:"rests_until,omitempty" doc:"When the lane sends again; absent unless it rests."`
	// NextDue is when the next delivery in the table is due; nil if none is known.
	NextDue *time.Time `json:"next_due,omitempty" doc:"When the next delivery in the table is due; absent if none is known."`
	// Backlog counts the webhook's pending deliveries in the table. [Store.Lane] sets
	// it; in the answer of a dispatcher it is nil.
	Backlog *Backlog `json:"backlog,omitempty" doc:"The webhook's pending deliveries in the table."`
}

// The states of a lane.
const (
	// LaneIdle has nothing to send.
	LaneIdle = "idle"
	// LaneActive sends.
	LaneActive = "active"
	// LaneResting waits, for a Retry-After or the rate limit.
	LaneResting = "resting"
	// LaneProbing sends one attempt at a time: the circuit breaker is open.
	LaneProbing = "probing"
	// LanePaused sends nothing: the webhook is paused, and its deliveries wait.
	LanePaused = "paused"
	// LanePolled sends nothing: the webhook is of [KindPull].
	LanePolled = "polled"
	// LaneDisabled sends nothing: the webhook is disabled or deleted.
	LaneDisabled = "disabled"
)

// ErrNoLaneOwner means that no owner of the webhook's partition answered. Ask again
// after a few seconds.
var ErrNoLaneOwner = errors.New("no dispatcher that owns the webhook's partition answered")

// laneTimeout bounds the wait for the answer of the partition's owner.
const laneTimeout = 2 * time.Second

// Lane asks the dispatcher that owns the webhook's partition for the state of the
// webhook's lane, and adds the webhook's backlog. It returns [ErrNotFound] if the
// tenant has no such webhook. It returns an error that wraps [ErrNoLaneOwner] if
// nobody answers within 2 seconds, or if nc is nil.
func (s *Store) Lane(ctx context.Context, nc *nats.Conn, tenant events.TenantID, id events.WebhookID) (LaneState, error) {
	backlog, err := s.Backlog(ctx, tenant, id)
	if err != nil {
		return LaneState{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, laneTimeout)
	defer cancel()
	lane, err := AskLane(ctx, nc, id)
	if err != nil {
		return LaneState{}, err
	}
	backlog.Left(lane.PerSecond)
	lane.Backlog = &backlog
	return lane, nil
}

// AskLane asks the dispatcher that owns the webhook's partition for the state of the
// webhook's lane, until ctx ends. Backlog is nil. The error wraps [ErrNoLaneOwner].
func AskLane(ctx context.Context, nc *nats.Conn, id events.WebhookID) (LaneState, error) {
	if nc == nil {
		return LaneState{}, fmt.Errorf("%w: there is no broker", ErrNoLaneOwner)
	}
	answer, err := nc.RequestWithContext(ctx, events.AskLane(id), nil)
	if err != nil {
		return LaneState{}, fmt.Errorf("%w: %w", ErrNoLaneOwner, err)
	}
	var lane LaneState
	if err := json.Unmarshal(answer.Data, &lane); err != nil {
		return LaneState{}, fmt.Errorf("%w: %w", ErrNoLaneOwner, err)
	}
	return lane, nil
}
