package outbox

import (
	"context"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// checkTypes looks up the types of events that nobody has looked up: own types, in one round trip for all. It returns the
// error of the first that the event's tenant does not have.
func checkTypes(ctx context.Context, db pg.DB, evs []Prepared) error {
	var keys []eventtype.Key
	for i := range evs {
		if evs[i].unchecked {
			keys = append(keys, eventtype.Key{TenantID: evs[i].event.TenantID, Name: evs[i].event.Type})
		}
	}
	if keys == nil {
		return nil
	}
	found, err := eventtype.LookUp(ctx, db, keys)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if _, exists := found[k]; !exists {
			return (&events.UnknownTypeError{Type: k.Name}).In("type")
		}
	}
	return nil
}
