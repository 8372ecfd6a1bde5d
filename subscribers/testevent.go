package subscribers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/schema"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/outbox"
)

// TestMessage is in the data of every test event. Replays recognize test events by
// it and skip them.
const TestMessage = "A test of this webhook, sent on request."

// TestEvent is what a test delivery sends.
type TestEvent struct {
	// Type is one that the webhook takes; "": its first, or the first that its first pattern selects.
	Type events.Type
	// Data is the event's data, a JSON object. nil: the sample of Type, with "test": true;
	// without a Type, and for an own type without a sample, a short notice. It is not
	// compared with the type's schema.
	Data json.RawMessage
}

// InsertTest inserts a test event and its delivery, which is due at once. The event
// goes to this webhook alone and ignores its filters; replays leave it out. It
// returns [ErrNotFound] if the tenant has no such webhook, [ErrDisabled] or
// [ErrPaused] if the webhook is disabled or paused, and an [*events.FieldError] if it does not take the type, or
// if the data is invalid.
func (s *Store) InsertTest(ctx context.Context, tenant events.TenantID, webhook events.WebhookID, test TestEvent) (DeliveryRow, error) {
	var d DeliveryRow
	err := pgx.BeginFunc(ctx, s.db, func(tx pgx.Tx) error {
		in := s.In(tx)
		w, err := in.get(ctx, tenant, webhook, " FOR SHARE")
		if err != nil {
			return err
		}
		if !w.Enabled {
			return ErrDisabled
		}
		if w.Paused {
			return ErrPaused
		}
		ev, err := test.of(ctx, tx, &w)
		if err != nil {
			return err
		}
		// The event is written to the event log and not to the outbox, so that no
		// other webhook gets it.
		src, err := outbox.Log(ctx, tx, ev)
		if err != nil {
			return err
		}
		list, err := in.insertDue(ctx, tenant, src, "test", events.ReplayID{}, []events.WebhookID{webhook})
		if err != nil {
			return err
		}
		d = list[0]
		return nil
	})
	if err != nil {
		return DeliveryRow{}, err
	}
	return d, nil
}

// of returns the event for a webhook.
func (t TestEvent) of(ctx context.Context, tx pgx.Tx, w *Webhook) (*events.Event, error) {
	ev := &events.Event{TenantID: w.TenantID, Type: t.Type, Data: t.Data}
	var err error
	if ev.Type == "" {
		ev.Type, err = sampleType(ctx, tx, w)
	} else if !ev.Type.Possible() || !wants(w.Events, ev.Type) || wantsEvery(w.Events) && ev.Type.Operational() {
		err = &events.FieldError{Field: "type", Reason: "is not one that the webhook takes; its events name " + typeList(w.Events)}
	}
	if err != nil {
		return nil, err
	}
	sample, err := sampleOf(ctx, tx, w.TenantID, ev.Type)
	if err != nil || t.Data != nil {
		return ev, err
	}
	content := map[string]any{"webhook_id": w.ID, "message": TestMessage}
	if t.Type != "" && sample != nil {
		content = map[string]any{}
		if err := json.Unmarshal(sample, &content); err != nil {
			return nil, fmt.Errorf("decode the sample of %s: %w", ev.Type, err)
		}
	}
	content["test"] = true
	if ev.Data, err = json.Marshal(content); err != nil {
		return nil, fmt.Errorf("encode a test event: %w", err)
	}
	return ev, nil
}

// sampleOf returns the sample of a type; nil for none. A type that the tenant does not have is an [*events.FieldError].
func sampleOf(ctx context.Context, tx pgx.Tx, tenant events.TenantID, t events.Type) (json.RawMessage, error) {
	if t.Known() {
		sample, err := schema.Sample(string(t))
		if err != nil {
			return nil, fmt.Errorf("the sample of %s: %w", t, err)
		}
		return sample, nil
	}
	own, err := eventtype.Get(ctx, tx, tenant, t)
	if errors.Is(err, eventtype.ErrNotFound) {
		return nil, (&events.UnknownTypeError{Type: t}).In("type")
	}
	return own.Sample, err
}

func typeList(types []events.Type) string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = string(t)
	}
	return strings.Join(names, ", ")
}

// sampleType is the type of a webhook's test event.
func sampleType(ctx context.Context, tx pgx.Tx, w *Webhook) (events.Type, error) {
	if i := slices.IndexFunc(w.Events, func(t events.Type) bool { return !t.Pattern() }); i >= 0 {
		return w.Events[i], nil
	}
	for _, pattern := range w.Events {
		for _, t := range events.Catalogue() {
			if pattern.Selects(t) {
				return t, nil
			}
		}
		own, err := eventtype.FirstOf(ctx, tx, w.TenantID, pattern)
		if err != nil || own != "" {
			return own, err
		}
	}
	return "", &events.FieldError{Field: "type", Reason: "is required: there is no type yet that the webhook's events select, which are " + typeList(w.Events)}
}
