package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ErrUnknown means that there is no schema of a type.
var ErrUnknown = errors.New("there is no schema of this type")

// node is a schema, with the keywords that the schemas of this package use. A keyword that
// is missing here is a fault of this package; a test reads all files for that.
type node struct {
	Schema      string           `json:"$schema"`
	Title       string           `json:"title"`
	Description string           `json:"description"`
	Format      string           `json:"format"` // not checked
	Ref         string           `json:"$ref"`   // "#/$defs/…"
	Defs        map[string]*node `json:"$defs"`
	Type        string           `json:"type"`
	Const       json.RawMessage  `json:"const"`
	Pattern     string           `json:"pattern"`
	Properties  map[string]*node `json:"properties"`
	Required    []string         `json:"required"`
	Additional  *node            `json:"additionalProperties"`
	Items       *node            `json:"items"`
	MinItems    *int             `json:"minItems"`
	MaxItems    *int             `json:"maxItems"`
	AnyOf       []*node          `json:"anyOf"`
}

// read returns the schema of a type's envelope.
var read = sync.OnceValues(func() (map[string]*node, error) {
	all := map[string]*node{}
	names, err := fs.Glob(Files, "*.json")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := Files.ReadFile(name)
		if err != nil {
			return nil, err
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		n := &node{}
		if err := d.Decode(n); err != nil {
			return nil, fmt.Errorf("read the schema %s: %w", name, err)
		}
		all[strings.TrimSuffix(name, ".json")] = n
	}
	return all, nil
})

// ValidateData checks the data of an event against the schema of its type. The error names the first place that does
// not fit, such as data.from[0].address, or is [ErrUnknown]. Fields that the schema does not name are allowed. It checks no
// "format".
func ValidateData(eventType string, data json.RawMessage) error {
	all, err := read()
	if err != nil {
		return err
	}
	envelope, known := all[eventType]
	if !known {
		return ErrUnknown
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("data: is not JSON: %w", err)
	}
	return envelope.Properties["data"].check(envelope.Defs, "data", v)
}

func (n *node) check(defs map[string]*node, at string, v any) error {
	if name, is := strings.CutPrefix(n.Ref, "#/$defs/"); is {
		return defs[name].check(defs, at, v)
	}
	if n.Type != "" && !isOf(n.Type, v) {
		return fmt.Errorf("%s: must be %s", at, n.Type)
	}
	if n.Const != nil {
		var want any
		d := json.NewDecoder(bytes.NewReader(n.Const))
		d.UseNumber()
		if err := d.Decode(&want); err != nil || !reflect.DeepEqual(want, v) {
			return fmt.Errorf("%s: must be %s", at, n.Const)
		}
	}
	if s, is := v.(string); is && n.Pattern != "" {
		if fits, err := regexp.MatchString(n.Pattern, s); err != nil || !fits {
			return fmt.Errorf("%s: must match %s", at, n.Pattern)
		}
	}
	if len(n.AnyOf) > 0 && !slices.ContainsFunc(n.AnyOf, func(o *node) bool { return o.check(defs, at, v) == nil }) {
		return fmt.Errorf("%s: has none of the values or forms that it may have", at)
	}
	switch v := v.(type) {
	case map[string]any:
		return n.checkObject(defs, at, v)
	case []any:
		return n.checkList(defs, at, v)
	}
	return nil
}

func (n *node) checkObject(defs map[string]*node, at string, v map[string]any) error {
	for _, name := range n.Required {
		if _, there := v[name]; !there {
			return fmt.Errorf("%s.%s: is required", at, name)
		}
	}
	for name, value := range v {
		of := n.Properties[name]
		if of == nil {
			of = n.Additional
		}
		if of == nil {
			continue
		}
		if err := of.check(defs, at+"."+name, value); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) checkList(defs map[string]*node, at string, v []any) error {
	switch {
	case n.MinItems != nil && len(v) < *n.MinItems:
		return fmt.Errorf("%s: must have %d items or more", at, *n.MinItems)
	case n.MaxItems != nil && len(v) > *n.MaxItems:
		return fmt.Errorf("%s: must have at most %d items", at, *n.MaxItems)
	case n.Items == nil:
		return nil
	}
	for i, item := range v {
		if err := n.Items.check(defs, at+"["+strconv.Itoa(i)+"]", item); err != nil {
			return err
		}
	}
	return nil
}

// isOf reports whether a value has a type of JSON Schema.
func isOf(kind string, v any) bool {
	switch v := v.(type) {
	case nil:
		return kind == "null"
	case bool:
		return kind == "boolean"
	case string:
		return kind == "string"
	case []any:
		return kind == "array"
	case map[string]any:
		return kind == "object"
	case json.Number:
		if kind == "integer" {
			f, err := v.Float64()
			return err == nil && f == float64(int64(f))
		}
		return kind == "number"
	}
	return false
}
