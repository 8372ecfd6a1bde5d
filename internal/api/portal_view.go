package api

import (
	"context"
	"slices"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// What those with a portal link see. An operation that they may call asks one of these,
// and answers what the link does not show as if it did not exist.

// shown returns a 404 for a webhook that the caller may not see.
func shown(ctx context.Context, w events.WebhookID) error {
	if !caller(ctx).Shows(w) {
		return subscribers.ErrNotFound
	}
	return nil
}

// shownDeliveries are those of an event that the caller may see. For a portal link without
// any, the event does not exist.
func shownDeliveries(ctx context.Context, rows []subscribers.DeliveryRow) ([]subscribers.DeliveryRow, error) {
	me := caller(ctx)
	if !me.Portal() {
		return rows, nil
	}
	rows = slices.DeleteFunc(rows, func(d subscribers.DeliveryRow) bool { return !me.Shows(d.WebhookID) })
	if len(rows) == 0 {
		return nil, subscribers.ErrNotFound
	}
	return rows, nil
}
