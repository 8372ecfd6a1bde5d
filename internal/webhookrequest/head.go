package webhookrequest

import (
	"net/http"

	"github.com/fanmail-dev/fanmail/events"
)

// Head is what headers say of an envelope. It is immutable: requests share the values.
type Head struct {
	eventType     []string // of the header; nil: not sent
	schemaVersion []string
}

// heads are those of envelopes that this release makes.
var heads = func() map[events.Type]*Head {
	known := make(map[events.Type]*Head)
	version := []string{events.SchemaVersion}
	for _, t := range events.Catalogue() {
		known[t] = &Head{eventType: []string{string(t)}, schemaVersion: version}
	}
	return known
}()

func readHead(envelope []byte) *Head {
	eventType, version := events.Head(envelope)
	if h, ok := heads[events.Type(eventType)]; ok && string(version) == events.SchemaVersion {
		return h
	}
	h := &Head{}
	if len(eventType) > 0 {
		h.eventType = []string{string(eventType)}
	}
	if len(version) > 0 {
		h.schemaVersion = []string{string(version)}
	}
	return h
}

func (h *Head) set(to http.Header) {
	if h.eventType != nil {
		to[HeaderEventType] = h.eventType
	}
	if h.schemaVersion != nil {
		to[HeaderSchemaVersion] = h.schemaVersion
	}
}

// HeadReader reads the heads of a batch's envelopes. The deliveries of an event follow
// each other and share its envelope, which is then read once.
type HeadReader struct {
	envelope *byte // the first byte of the last one
	head     *Head
}

// Read returns the head of an envelope.
func (r *HeadReader) Read(envelope []byte) *Head {
	if len(envelope) == 0 {
		return readHead(nil)
	}
	if r.envelope != &envelope[0] {
		r.envelope, r.head = &envelope[0], readHead(envelope)
	}
	return r.head
}
