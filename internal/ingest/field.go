package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

var (
	// ErrNoField means that the mail has no value for the field.
	ErrNoField = errors.New("the mail has no such field")
	// ErrPartOfField means that the field could not be read to its end.
	ErrPartOfField = errors.New("the field can't be read to its end")
)

// ReadField returns a field of the event of a raw mail, as the event would have it without its limits: a string, or what
// is to be encoded as JSON. messageURL is the path of the message, for the links of attachments. It returns [ErrNoField]
// for a field that the mail does not have, [ErrPartOfField] if the budget of the parser ends before the mail, and the
// context's error if ctx ends before.
func ReadField(ctx context.Context, raw []byte, name, messageURL string) (any, error) {
	read := mailFields[name]
	if read == nil {
		return nil, ErrNoField
	}
	m := mailparse.ParseWhole(ctx, raw)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read a field: %w", context.Cause(ctx))
	}
	if m.Incomplete {
		return nil, fmt.Errorf("%w: %s", ErrPartOfField, m.Problem)
	}
	p := fieldsOf(m, raw, true)
	rec := p.received(mail{})
	rec.Attachments = linked(p.attachments, messageURL)
	value := read(rec)
	if value == nil {
		return nil, ErrNoField
	}
	if p.cut[name] {
		return nil, ErrPartOfField
	}
	return value, nil
}
