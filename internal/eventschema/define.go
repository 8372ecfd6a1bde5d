package eventschema

import (
	"context"

	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Define creates an event type whose schema and sample are checked. Its errors are those of [eventtype.Type.Normalize]
// and [eventtype.Insert], and an [*events.FieldError] for a schema that [Compile] refuses or a sample that does not fit it.
func Define(ctx context.Context, tx pg.DB, t eventtype.Type) (eventtype.Type, error) {
	if err := checked(&t); err != nil {
		return eventtype.Type{}, err
	}
	return eventtype.Insert(ctx, tx, &t)
}

// Restore creates a type of a tenant's export, unless the tenant has one of the name, which then stays as it is: made is
// false. Its errors are those of [Define], but for [eventtype.ErrExists].
func Restore(ctx context.Context, tx pg.DB, t eventtype.Type) (made bool, err error) {
	if err := checked(&t); err != nil {
		return false, err
	}
	return eventtype.Restore(ctx, tx, &t)
}

// Redefine changes a type that [eventtype.Lock] has read. Its errors are those of [Define] for what a type holds.
func Redefine(ctx context.Context, tx pg.DB, t eventtype.Type) (eventtype.Type, error) {
	if err := checked(&t); err != nil {
		return eventtype.Type{}, err
	}
	return eventtype.Update(ctx, tx, &t)
}

func checked(t *eventtype.Type) error {
	if err := t.Normalize(); err != nil || t.Schema == nil {
		return err
	}
	s, err := Compile(t.Schema)
	if err != nil || t.Sample == nil {
		return err
	}
	return s.Check("sample", t.Sample)
}
