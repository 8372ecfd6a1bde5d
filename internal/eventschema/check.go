package eventschema

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/fanmail-dev/fanmail/events"
)

// weigh returns how much a comparison takes for a value and all in it.
func weigh(v any, depth int) int {
	n := 1 + depth/4
	switch v := v.(type) {
	case map[string]any:
		for _, field := range v {
			n += weigh(field, depth+1)
		}
	case []any:
		for _, item := range v {
			n += weigh(item, depth+1)
		}
	case json.Number:
		n += digits(v) - 1
	case string:
		n += len(v) / 1024 // it is copied
	}
	return n
}

// steps returns how much a comparison takes, to be held against [MaxSteps].
func (s *Schema) steps(data []byte, v any) int {
	return max(s.parts*weigh(v, 0), s.instructions*len(data)/100)
}

// check compares a value with the schema, which takes so many steps. The error is a [*Place].
func (s *Schema) check(v any, steps int) (err error) {
	if wrong := numbers(v); wrong != "" {
		return &Place{Reason: wrong}
	}
	if steps > MaxSteps {
		return &Place{Reason: fmt.Sprintf("is too much to compare with its schema: %d steps, and the limit is %d; send less data, or make the schema simpler", steps, MaxSteps)}
	}
	// Schema and data are a stranger's: a fault of the library must not end the process.
	defer func() {
		if recover() != nil {
			err = &Place{Reason: "can't be compared with its schema"}
		}
	}()
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](s.compiled.Validate(v)); ok {
		return placeOf(invalid)
	}
	return nil
}

// waits says whether a comparison of so many steps waits for its turn.
func waits(steps int) bool { return steps > heavy && steps <= MaxSteps }

// fit is [Schema.check] with an error that names the field of the data, and the schema.
func (s *Schema) fit(field, schema string, v any, steps int) error {
	if err := s.check(v, steps); err != nil {
		return &events.FieldError{Field: field, Reason: "does not fit " + schema + ": " + err.Error()}
	}
	return nil
}

// Check compares data, a JSON object, with the schema. The error is an [*events.FieldError] of the named field.
func (s *Schema) Check(field string, data json.RawMessage) error {
	v, err := decode(data)
	if err != nil {
		return notJSON(field)
	}
	return s.fit(field, "the schema", v, s.steps(data, v))
}

func notJSON(field string) error {
	return &events.FieldError{Field: field, Reason: "must be a JSON object in UTF-8"}
}
