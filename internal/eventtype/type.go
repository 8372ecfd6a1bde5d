package eventtype

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
)

// Limits of own types. An error that a limit causes names it.
const (
	// MaxTypes is how many types a tenant may have, and how many the operator.
	MaxTypes = 500
	// MaxDescriptionBytes bounds the description.
	MaxDescriptionBytes = 500
	// MaxSchemaBytes bounds the schema, without the spaces between its tokens.
	MaxSchemaBytes = 64 << 10
	// MaxSampleBytes bounds the sample, likewise.
	MaxSampleBytes = 64 << 10
)

// The errors of changes. A bad field is an [*events.FieldError].
var (
	// ErrNotFound means that there is no such type.
	ErrNotFound = errors.New("there is no such event type")
	// ErrExists means that there is a type of the name.
	ErrExists = errors.New("there is an event type of this name")
)

// LimitError means that the tenant, or the operator, has [MaxTypes].
type LimitError struct{}

// Error names the limit.
func (*LimitError) Error() string {
	return fmt.Sprintf("there are %d event types, which is the limit", MaxTypes)
}

// Type is a type that a tenant or an operator has made.
type Type struct {
	// TenantID is whose it is; zero: an operator's, for every tenant.
	TenantID events.TenantID
	// Name is one that [events.Type.CheckOwn] accepts.
	Name events.Type
	// Description is for people: one line of at most [MaxDescriptionBytes].
	Description string
	// Schema is the JSON Schema of the data of its events; nil: any object.
	Schema json.RawMessage
	// Sample is data of a test; nil: none.
	Sample json.RawMessage
	// Deprecated types work as others do. People should stop using them.
	Deprecated bool
	// CreatedAt and UpdatedAt are set by the database. In UTC.
	CreatedAt, UpdatedAt time.Time

	// HasSchema and HasSample say whether there are any, also in a list, which leaves them out.
	HasSchema, HasSample bool
}

// Normalize brings description, schema and sample into the form that is stored, and checks all but what the schema says.
// It returns an [*events.FieldError] for the first fault.
func (t *Type) Normalize() error {
	if err := t.Name.CheckOwn(); err != nil {
		return err
	}
	t.Description = input.Shown(t.Description)
	switch {
	case len(t.Description) > MaxDescriptionBytes:
		return &events.FieldError{Field: "description", Reason: fmt.Sprintf("has %d bytes; the limit is %d", len(t.Description), MaxDescriptionBytes)}
	case strings.ContainsAny(t.Description, "\r\n"):
		return &events.FieldError{Field: "description", Reason: "holds a line break"}
	}
	if wrong := input.Text(t.Description); wrong != "" {
		return &events.FieldError{Field: "description", Reason: wrong}
	}
	var err error
	if t.Schema, err = compact("schema", t.Schema, MaxSchemaBytes); err != nil {
		return err
	}
	t.Sample, err = compact("sample", t.Sample, MaxSampleBytes)
	return err
}
