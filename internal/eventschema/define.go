package eventschema

import (
	"context"

	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Verified is an event type whose schema and sample are sound. [Checker.Verify] makes it.
type Verified struct{ of eventtype.Type }

// Verify brings an event type into the form that is stored, compiles its schema, and compares its sample with it. It takes
// no connection, so call it before the transaction. Its errors are those of [eventtype.Type.Normalize], an
// [*events.FieldError] for a schema that [Compile] refuses or a sample that does not fit it, [ErrBusy], and that of ctx.
func (c *Checker) Verify(ctx context.Context, t eventtype.Type) (Verified, error) {
	if err := t.Normalize(); err != nil || t.Schema == nil {
		return Verified{t}, err
	}
	s, err := Compile(t.Schema)
	if err != nil || t.Sample == nil {
		return Verified{t}, err
	}
	v, err := decode(t.Sample)
	if err != nil {
		return Verified{}, notJSON("sample")
	}
	steps := s.steps(t.Sample, v)
	if waits(steps) {
		release, err := c.turn(ctx, t.TenantID)
		if err != nil {
			return Verified{}, err
		}
		defer release()
	}
	return Verified{t}, s.fit("sample", "the schema", v, steps)
}

// Define creates a type. Its errors are those of [eventtype.Insert].
func Define(ctx context.Context, tx pg.DB, t Verified) (eventtype.Type, error) {
	return eventtype.Insert(ctx, tx, &t.of)
}

// Restore creates a type of a tenant's export, unless the tenant has one of the name, which then stays as it is: made is
// false. Its errors are those of [eventtype.Restore].
func Restore(ctx context.Context, tx pg.DB, t Verified) (made bool, err error) {
	return eventtype.Restore(ctx, tx, &t.of)
}

// Redefine changes a type that [eventtype.Lock] has read.
func Redefine(ctx context.Context, tx pg.DB, t Verified) (eventtype.Type, error) {
	return eventtype.Update(ctx, tx, &t.of)
}
