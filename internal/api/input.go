package api

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
)

// storedText is a text of a request: of a body, a query, a path or a header.
// [input.Text] says which texts are accepted.
type storedText string

// Resolve checks the text.
func (t *storedText) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	return faults(at, input.Text(string(*t)))
}

// webhookRef is the id of a webhook in a list of a body. As an [events.WebhookID] a malformed one would be a fault of
// the whole body.
type webhookRef string

// Resolve checks the id.
func (w *webhookRef) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	if _, err := events.Parse[events.WebhookKind](string(*w)); err != nil {
		return faults(at, err.Error())
	}
	return nil
}

// id is the id, which Resolve has checked.
func (w webhookRef) id() events.WebhookID {
	id, _ := events.Parse[events.WebhookKind](string(w))
	return id
}

// instant is a time of a request. [input.Time] says which times are accepted; the
// zero time means that it is absent.
type instant struct{ time.Time }

// Schema is the schema of a time.
func (instant) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

// UnmarshalText parses a query parameter.
func (t *instant) UnmarshalText(b []byte) error {
	at, err := time.Parse(time.RFC3339, string(b))
	if err != nil {
		return errors.New("must be a time such as 2026-01-02T15:04:05Z")
	}
	t.Time = at
	return nil
}

// Resolve checks the time.
func (t *instant) Resolve(_ huma.Context, at *huma.PathBuffer) []error {
	if t.IsZero() {
		return nil
	}
	return faults(at, input.Time(t.Time))
}

func faults(at *huma.PathBuffer, fault string) []error {
	if fault == "" {
		return nil
	}
	// Package huma leaves the option of the tag in the name of a repeated parameter.
	return []error{&huma.ErrorDetail{Location: strings.Replace(at.String(), ",explode", "", 1), Message: fault}}
}

func texts(in []storedText) []string {
	if in == nil {
		return nil
	}
	out := make([]string, len(in))
	for i, t := range in {
		out[i] = string(t)
	}
	return out
}

func storedTexts(in []string) []storedText {
	if in == nil {
		return nil
	}
	out := make([]storedText, len(in))
	for i, t := range in {
		out[i] = storedText(t)
	}
	return out
}

// jsonType is the media type of requests.
const jsonType = "application/json"

// maxEntries is how many entries a list or an object of a body may have. Each that is wrong costs an error with a text: the
// lists of a megabyte would take half a second, and 300 MiB.
const maxEntries = 10_000

// entries returns how many the longest list or object of a JSON text has that nests within the limit. It does not check
// that the text is JSON.
func entries(b []byte) int {
	var counts [events.MaxDepth + 1]int
	depth, most := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth = min(depth+1, events.MaxDepth)
			counts[depth] = 1
		case '}', ']':
			depth = max(depth-1, 0)
		case ',':
			counts[depth]++
			most = max(most, counts[depth])
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		}
	}
	return most
}

// jsonFormat reads and writes JSON. It refuses a body that nests too deep, or whose lists are too long, before anything is
// made of it.
var jsonFormat = huma.Format{
	Marshal: huma.DefaultJSONFormat.Marshal,
	Unmarshal: func(body []byte, v any) error {
		if events.Depth(body) > events.MaxDepth {
			return fmt.Errorf("nests deeper than %d objects and lists", events.MaxDepth)
		}
		if entries(body) > maxEntries {
			return fmt.Errorf("has a list or an object with over %d entries", maxEntries)
		}
		// Package json would replace the bytes, and store another text than was sent.
		if !utf8.Valid(body) {
			return errors.New("is not valid UTF-8")
		}
		return huma.DefaultJSONFormat.Unmarshal(body, v)
	},
}
