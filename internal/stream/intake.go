package stream

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
)

// IntakeState is the state of an intake stream.
type IntakeState struct {
	Name string
	// Own says that the stream is one tenant's own.
	Own bool
	// Bytes is the size of the messages that wait, MaxBytes the stream's bound; not above 0: none.
	Bytes, MaxBytes int64
}

// Fullness is the part of its bound that the stream holds; 0 without a bound.
func (s IntakeState) Fullness() float64 {
	if s.MaxBytes <= 0 {
		return 0
	}
	return float64(s.Bytes) / float64(s.MaxBytes)
}

// Intakes lists the intake streams that exist: the shared one and those of tenants.
func Intakes(ctx context.Context, js jetstream.JetStream) ([]IntakeState, error) {
	var found []IntakeState
	list := js.ListStreams(ctx, jetstream.WithStreamListSubject(events.IntakePrefix+">"))
	for info := range list.Info() {
		_, own := ownTenant(info.Config.Name)
		if own || info.Config.Name == Intake {
			found = append(found, IntakeState{Name: info.Config.Name, Own: own, Bytes: int64(info.State.Bytes), MaxBytes: info.Config.MaxBytes}) //nolint:gosec // below a disk's size
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list the intake streams: %w", err)
	}
	return found, nil
}
