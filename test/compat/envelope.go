package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compareSchemas compares what a schema of events promises, field by field.
func compareSchemas(old, now Contracts, name string) ([]string, error) {
	typ := strings.TrimSuffix(strings.TrimPrefix(name, schemas), ".json")
	if now[name] == "" {
		return []string{"the type " + typ + " is gone"}, nil
	}
	had, err := flatten(typ, old[name], true)
	if err != nil {
		return nil, err
	}
	has, err := flatten(typ, now[name], true)
	return compareLists(had, has), err
}

// compareEnvelopes compares a golden envelope, and holds each release's against the other's schema: events that were
// stored are replayed, and receivers keep the schemas that they know.
func compareEnvelopes(old, now Contracts, name string) ([]string, error) {
	if now[name] == "" {
		return []string{"the golden envelope is gone"}, nil
	}
	breaks, err := kept("", []byte(old[name]), []byte(now[name]))
	if err != nil {
		return nil, err
	}
	if compact(old[name]) && !compact(now[name]) {
		breaks = append(breaks, "the envelope has blanks between values")
	}
	typ, _, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(name, envelopes), ".json"), "-")
	schema := schemas + typ + ".json"
	for _, way := range []struct{ says, schema, envelope string }{
		{"the released envelope does not fit the schema: ", now[schema], old[name]},
		{"the envelope does not fit the released schema: ", old[schema], now[name]},
	} {
		if way.schema == "" {
			continue // compareSchemas says so
		}
		fault, err := fits(way.schema, way.envelope)
		if err != nil {
			return nil, err
		}
		if fault != "" {
			breaks = append(breaks, way.says+fault)
		}
	}
	return breaks, nil
}

func compact(v string) bool {
	var out bytes.Buffer
	return json.Compact(&out, []byte(v)) == nil && out.String() == strings.TrimSpace(v)
}

// fits returns why the envelope does not fit the schema, or "".
func fits(schema, envelope string) (string, error) {
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		return "", fmt.Errorf("read the schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("mem:///schema", doc); err != nil {
		return "", fmt.Errorf("add the schema: %w", err)
	}
	compiled, err := c.Compile("mem:///schema")
	if err != nil {
		return "", fmt.Errorf("compile the schema: %w", err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(envelope))
	if err != nil {
		return "", fmt.Errorf("read the envelope: %w", err)
	}
	if err := compiled.Validate(value); err != nil {
		return strings.Join(strings.Fields(err.Error()), " "), nil
	}
	return "", nil
}

// field is one of an object, with the bytes of its value.
type field struct {
	name  string
	value json.RawMessage
}

// kept says what of a JSON value is not in another. Objects may have more fields; the rest has the same bytes: receivers
// compare signatures of bytes, and some take envelopes apart by hand.
func kept(at string, old, now json.RawMessage) (breaks []string, err error) {
	was, err := fields(old)
	if err != nil {
		return nil, err
	}
	is, err := fields(now)
	if err != nil {
		return nil, err
	}
	if was == nil || is == nil {
		return keptItems(at, old, now)
	}
	next := 0
	for _, w := range was {
		i := next
		for i < len(is) && is[i].name != w.name {
			i++
		}
		if i == len(is) {
			breaks = append(breaks, fmt.Sprintf("%s.%s is gone, or comes earlier than before", at, w.name))
			continue
		}
		below, err := kept(at+"."+w.name, w.value, is[i].value)
		if err != nil {
			return nil, err
		}
		breaks, next = append(breaks, below...), i+1
	}
	return breaks, nil
}

// keptItems compares two arrays item by item, and other values by their bytes.
func keptItems(at string, old, now json.RawMessage) (breaks []string, err error) {
	var was, is []json.RawMessage
	if json.Unmarshal(old, &was) != nil || json.Unmarshal(now, &is) != nil || len(was) != len(is) || len(was) == 0 {
		if !bytes.Equal(bytes.TrimSpace(old), bytes.TrimSpace(now)) {
			breaks = append(breaks, fmt.Sprintf("%s was %s and is %s", at, short(old), short(now)))
		}
		return breaks, nil
	}
	for i := range was {
		below, err := kept(fmt.Sprintf("%s[%d]", at, i), was[i], is[i])
		if err != nil {
			return nil, err
		}
		breaks = append(breaks, below...)
	}
	return breaks, nil
}

func short(v []byte) string {
	const most = 80
	if len(v) > most {
		return string(v[:most]) + "…"
	}
	return string(v)
}

// fields returns those of an object in their order, or nil for another value.
func fields(v json.RawMessage) ([]field, error) {
	dec := json.NewDecoder(bytes.NewReader(v))
	first, err := dec.Token()
	if err != nil {
		return nil, err
	}
	if first != json.Delim('{') {
		return nil, nil
	}
	found := []field{}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		f := field{name: fmt.Sprint(name)}
		if err := dec.Decode(&f.value); err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	_, err = dec.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return found, err
}
