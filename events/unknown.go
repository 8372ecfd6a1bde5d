package events

import (
	"fmt"
	"strings"
)

// UnknownTypeError means that a type is not in the catalogue, and none that the tenant or an operator has made.
type UnknownTypeError struct{ Type Type }

// Error names the type and says which there are.
func (e *UnknownTypeError) Error() string {
	if name := string(e.Type); ownFault(name) == "" {
		return fmt.Sprintf("unknown event type %q: it is not in the catalogue, and this tenant has no such type; POST /v1/event-types makes one", name)
	}
	names := make([]string, len(catalogue))
	for i, t := range catalogue {
		names[i] = string(t)
	}
	return fmt.Sprintf("unknown event type %q; known types: %s", clip(string(e.Type), 64), strings.Join(names, ", "))
}

// In returns the error of a field that holds the type. It wraps e and a [*FieldError].
func (e *UnknownTypeError) In(field string) error {
	return unknownType{&FieldError{field, e.Error()}, e}
}

type unknownType struct {
	field   *FieldError
	unknown *UnknownTypeError
}

func (e unknownType) Error() string   { return e.field.Error() }
func (e unknownType) Unwrap() []error { return []error{e.field, e.unknown} }
