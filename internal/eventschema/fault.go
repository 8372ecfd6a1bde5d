package eventschema

import (
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/fanmail-dev/fanmail/events"
)

// base is the URL of each schema. A relative reference to another document leads to a place below it.
const base = "https://schema.invalid/schema.json"

const dialect = "https://json-schema.org/draft/2020-12/schema"

func schemaFault(format string, about ...any) error {
	return &events.FieldError{Field: "schema", Reason: fmt.Sprintf(format, about...)}
}

// readable says what is wrong with a schema. Its own URL means nothing to people.
func readable(err error) string {
	if wrong, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if invalid, ok := errors.AsType[*jsonschema.ValidationError](wrong.Err); ok {
			return "is no JSON Schema of draft 2020-12: " + placeOf(invalid).Error()
		}
	}
	return "is refused: " + clip(strings.NewReplacer(base+"#", "#", base, "the schema").Replace(err.Error()), 400)
}
