package api

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// optional is a field of a PATCH: absent, null or a value.
type optional[T any] struct {
	Set   bool
	value *T // nil where the field is absent or null
}

// UnmarshalJSON is called only if the field is present.
func (o *optional[T]) UnmarshalJSON(b []byte) error {
	o.Set = true
	return json.Unmarshal(b, &o.value)
}

// Schema is the schema of the value.
func (optional[T]) Schema(r huma.Registry) *huma.Schema {
	return inline[T](r)
}

// inline is the schema of a type itself, not a reference to it: package huma can't let
// a reference be null.
func inline[T any](r huma.Registry) *huma.Schema {
	t := reflect.TypeFor[T]()
	s := *r.Schema(t, false, t.Name())
	return &s
}

// Resolve checks the value if its type has a check of its own.
func (o *optional[T]) Resolve(ctx huma.Context, at *huma.PathBuffer) []error {
	if checked, ok := any(o.value).(huma.ResolverWithPath); ok && o.value != nil {
		return checked.Resolve(ctx, at)
	}
	return nil
}

// orZero returns the value: the zero value if the field is null, nil if it is absent.
func (o *optional[T]) orZero() *T {
	if o.Set && o.value == nil {
		return new(T)
	}
	return o.value
}

// required returns the value, nil if the field is absent. Null is an error.
func (o *optional[T]) required(location string) (*T, error) {
	if o.Set && o.value == nil {
		return nil, fault(location, "must not be null")
	}
	return o.value, nil
}

// object is any JSON object, in the OpenAPI document.
type object struct{}

// Schema allows any object.
func (object) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}
