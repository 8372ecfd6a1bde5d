package fanmail

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// ErrTypeExists means that there is an event type of the name.
var ErrTypeExists = eventtype.ErrExists

// TypeInUseError means that webhooks name an event type in their events.
type TypeInUseError = subscribers.TypeInUseError

// OwnType is an event type that is not of the catalogue.
type OwnType struct {
	// TenantID is whose it is; zero: it is for every tenant.
	TenantID TenantID
	// Name has two or more parts with dots between them, such as order.created: lower-case
	// letters, digits, _ and -, at most 100 bytes. The first part is none of the catalogue's.
	Name EventType
	// Description is for people: one line of at most 500 bytes.
	Description string
	// Schema is a JSON Schema of draft 2020-12 for the data of its events, at most 64 KiB;
	// nil: any object.
	Schema json.RawMessage
	// Sample is data that fits the schema, for a test of a webhook, at most 64 KiB; nil: none.
	Sample json.RawMessage
	// Deprecated types work as others do. People should stop using them.
	Deprecated bool

	CreatedAt, UpdatedAt time.Time // set by Fanmail
}

func ownType(t eventtype.Type) OwnType {
	return OwnType{
		TenantID: t.TenantID, Name: t.Name, Description: t.Description, Schema: t.Schema, Sample: t.Sample, Deprecated: t.Deprecated,
		CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt,
	}
}

func (t *OwnType) stored() eventtype.Type {
	return eventtype.Type{TenantID: t.TenantID, Name: t.Name, Description: t.Description, Schema: t.Schema, Sample: t.Sample, Deprecated: t.Deprecated}
}

// typeError is an error of package eventtype as the client returns it.
func typeError(err error) error {
	var limit *eventtype.LimitError
	switch {
	case errors.Is(err, eventtype.ErrNotFound), errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case errors.As(err, &limit):
		return &LimitError{Name: "event types", Limit: eventtype.MaxTypes}
	}
	return err
}

// CreateEventType creates an event type. It returns a [*FieldError] for a bad field,
// [ErrTypeExists], a [*LimitError] for more than 500 types of a tenant, and [ErrNotFound]
// where there is no such tenant.
//
// A tenant's own type counts for it before one of the name that is for every tenant.
func (c *Client) CreateEventType(ctx context.Context, t OwnType) (OwnType, error) {
	if err := c.changeable(ctx, t.TenantID); err != nil {
		return OwnType{}, err
	}
	verified, err := c.types.Verify(ctx, t.stored())
	if err != nil {
		return OwnType{}, typeError(err)
	}
	var made eventtype.Type
	err = pgx.BeginFunc(ctx, c.db, func(tx pgx.Tx) (err error) {
		made, err = eventschema.Define(ctx, tx, verified)
		return err
	})
	if err != nil {
		return OwnType{}, typeError(err)
	}
	return ownType(made), nil
}

// GetEventType returns an own type as a tenant sees it, or [ErrNotFound]. The zero tenant
// sees those for every tenant alone.
func (c *Client) GetEventType(ctx context.Context, tenant TenantID, name EventType) (OwnType, error) {
	if err := c.ready(); err != nil {
		return OwnType{}, err
	}
	t, err := eventtype.Get(ctx, c.db, tenant, name)
	if err != nil {
		return OwnType{}, typeError(err)
	}
	return ownType(t), nil
}

// ListEventTypes returns up to limit own types that a tenant sees, whose names come after a
// name, sorted by name and without Schema and Sample. There are more if there are limit.
func (c *Client) ListEventTypes(ctx context.Context, tenant TenantID, after EventType, limit int) ([]OwnType, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	found, err := eventtype.List(ctx, c.db, tenant, string(after), limit, eventtype.Which{Own: true, Operator: true})
	if err != nil {
		return nil, err
	}
	out := make([]OwnType, len(found))
	for i, t := range found {
		out[i] = ownType(t)
	}
	return out, nil
}

// ChangeEventType replaces description, schema, sample and the mark of a type. It returns a
// [*FieldError] for a bad field, and [ErrNotFound].
func (c *Client) ChangeEventType(ctx context.Context, t OwnType) (OwnType, error) {
	if err := c.changeable(ctx, t.TenantID); err != nil {
		return OwnType{}, err
	}
	verified, err := c.types.Verify(ctx, t.stored())
	if err != nil {
		return OwnType{}, typeError(err)
	}
	changed, err := eventschema.Redefine(ctx, c.db, verified)
	if err != nil {
		return OwnType{}, typeError(err)
	}
	return ownType(changed), nil
}

// DeleteEventType deletes a type of the tenant, or one for every tenant if tenant is zero.
// Further events of it are refused; those in the log stay. It returns a [*TypeInUseError] if
// webhooks name it in their events, and [ErrNotFound].
func (c *Client) DeleteEventType(ctx context.Context, tenant TenantID, name EventType) error {
	if err := c.changeable(ctx, tenant); err != nil {
		return err
	}
	return c.store.DeleteEventType(ctx, tenant, name)
}

// CheckEvent looks the event's own type up and compares the data with its schema, which
// [Insert] does not. It returns an error that wraps a [*FieldError] for an event that does
// not fit. Call it before a transaction: it uses the client's pool.
func (c *Client) CheckEvent(ctx context.Context, ev Event) error {
	if err := c.ready(); err != nil {
		return err
	}
	if err := ev.Validate(); err != nil {
		return err
	}
	faults, err := c.types.Check(ctx, c.db, []Event{ev})
	return errors.Join(append(faults, err)...)
}
