package api

import (
	_ "embed" // for recorded
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
)

// recorded has a request and its response for each operation. The contract test in test/e2e records them from a running
// system.
//
//go:embed samples.json
var recorded []byte

// recording is one exchange. Request is nil for a request without a body. Texts are answers that are no JSON, by media
// type.
type recording struct {
	Path     string            `json:"path"`
	Status   int               `json:"status"`
	Request  json.RawMessage   `json:"request,omitempty"`
	Response json.RawMessage   `json:"response,omitempty"`
	Texts    map[string]string `json:"texts,omitempty"`
}

// text is the answer of a media type; */* takes any.
func (r *recording) text(media string) (text string, known bool) {
	if media == "*/*" {
		for _, media := range slices.Sorted(maps.Keys(r.Texts)) {
			return r.Texts[media], true
		}
	}
	text, known = r.Texts[media]
	return text, known
}

// parameters puts what the path had for each parameter of its template into the document.
func (r *recording) parameters(template string, of []*huma.Param) {
	had := strings.Split(r.Path, "/")
	for i, part := range strings.Split(template, "/") {
		for _, p := range of {
			if p.In != "path" || part != "{"+p.Name+"}" || i >= len(had) {
				continue
			}
			p.Example = had[i]
			if n, err := strconv.Atoi(had[i]); err == nil && p.Schema.Type == huma.TypeInteger {
				p.Example = n
			}
		}
	}
}

var recordings = sync.OnceValues(func() (map[string]recording, error) {
	var all map[string]recording
	if err := json.Unmarshal(recorded, &all); err != nil {
		return nil, fmt.Errorf("read the samples of the API: %w", err)
	}
	return all, nil
})

// addSamples puts the recorded exchanges into the document, as examples. The answer of an operation that the contract
// test sees refused, such as a retry of what is delivered, gets the same object from another operation's.
func addSamples(doc *huma.OpenAPI) error {
	all, err := recordings()
	if err != nil {
		return err
	}
	var without []*huma.MediaType
	objects := map[string]any{}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) { // so that the same object is chosen each time
		item := doc.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Patch, item.Delete} {
			if op == nil {
				continue
			}
			sample := all[op.OperationID]
			sample.parameters(path, op.Parameters)
			if op.RequestBody != nil && sample.Request != nil {
				op.RequestBody.Content[jsonMedia].Example = sample.Request
			}
			for status, answer := range op.Responses {
				for name, media := range answer.Content {
					if text, known := sample.text(name); known && status == strconv.Itoa(sample.Status) {
						media.Example = text
					}
				}
				media := answer.Content[jsonMedia]
				switch {
				case media == nil:
				case status == strconv.Itoa(sample.Status):
					media.Example = sample.Response
					objects[media.Schema.Ref] = sample.Response
				default:
					without = append(without, media)
				}
			}
		}
	}
	for _, media := range without {
		if object, known := objects[media.Schema.Ref]; known && media.Schema.Ref != "" {
			media.Example = object
		}
	}
	return nil
}

const jsonMedia = "application/json"
