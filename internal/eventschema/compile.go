package eventschema

import (
	"encoding/json"
	"errors"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is a compiled schema. It is immutable and safe for concurrent use.
type Schema struct {
	compiled *jsonschema.Schema
	size
}

// noLoader fetches nothing.
type noLoader struct{}

// Load refuses the URL.
func (noLoader) Load(string) (any, error) {
	return nil, errors.New("a schema may refer to places in itself alone")
}

// Compile compiles a schema. The error is an [*events.FieldError] of the field schema.
func Compile(text json.RawMessage) (_ *Schema, err error) {
	// The text is a stranger's: a fault of the library must not end the process.
	defer func() {
		if recover() != nil {
			err = schemaFault("can't be read")
		}
	}()
	doc, err := decode(text)
	if err != nil {
		return nil, schemaFault("must be a JSON object: %s", err)
	}
	top, ok := doc.(map[string]any)
	if !ok {
		return nil, schemaFault("must be a JSON object")
	}
	if named, given := top["$schema"]; given && named != dialect && named != dialect+"#" {
		return nil, schemaFault("has a $schema other than %s", dialect)
	}
	if n := objects(doc); n > maxObjects {
		return nil, schemaFault("has %d objects and booleans; the limit is %d", n, maxObjects)
	}
	if wrong := numbers(doc); wrong != "" {
		return nil, schemaFault("%s", wrong)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	c.UseRegexpEngine(expressions{}.compile)
	if err := c.AddResource(base, doc); err != nil {
		return nil, schemaFault("%s", readable(err))
	}
	compiled, err := c.Compile(base)
	if err != nil {
		return nil, schemaFault("%s", readable(err))
	}
	s := &Schema{compiled: compiled}
	s.size, err = measure(compiled)
	return s, err
}
