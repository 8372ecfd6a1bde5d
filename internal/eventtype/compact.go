package eventtype

import (
	"bytes"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/fanmail-dev/fanmail/events"
)

// compact returns a JSON object without the spaces between its tokens; nil for none and for null.
func compact(field string, raw json.RawMessage, limit int) (json.RawMessage, error) {
	fault := func(format string, about ...any) (json.RawMessage, error) {
		return nil, &events.FieldError{Field: field, Reason: fmt.Sprintf(format, about...)}
	}
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	if raw[0] != '{' || !utf8.Valid(raw) {
		return fault("must be a JSON object in UTF-8")
	}
	if events.Depth(raw) > events.MaxDepth {
		return fault("nests deeper than %d objects and lists", events.MaxDepth)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return fault("must be a JSON object in UTF-8")
	}
	if b.Len() > limit {
		return fault("has %d bytes; the limit is %d", b.Len(), limit)
	}
	return b.Bytes(), nil
}
