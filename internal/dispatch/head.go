package dispatch

import (
	"net/http"

	"github.com/fanmail-dev/fanmail/events"
)

const (
	// HeaderEventType is the header with the type of the event, in the canonical form
	// of net/http.
	HeaderEventType = "X-E2a-Event-Type"
	// HeaderSchemaVersion is the header with the schema version of the envelope.
	HeaderSchemaVersion = "X-E2a-Schema-Version"
)

// head is what headers say of an envelope. It is immutable: requests share the values.
type head struct {
	eventType     []string // of the header; nil: not sent
	schemaVersion []string
}

// heads are those of envelopes that this release makes.
var heads = func() map[events.Type]*head {
	known := make(map[events.Type]*head)
	version := []string{events.SchemaVersion}
	for _, t := range events.Catalogue() {
		known[t] = &head{eventType: []string{string(t)}, schemaVersion: version}
	}
	return known
}()

func readHead(envelope []byte) *head {
	eventType, version := events.Head(envelope)
	if h, ok := heads[events.Type(eventType)]; ok && string(version) == events.SchemaVersion {
		return h
	}
	h := &head{}
	if len(eventType) > 0 {
		h.eventType = []string{string(eventType)}
	}
	if len(version) > 0 {
		h.schemaVersion = []string{string(version)}
	}
	return h
}

func (h *head) set(to http.Header) {
	if h.eventType != nil {
		to[HeaderEventType] = h.eventType
	}
	if h.schemaVersion != nil {
		to[HeaderSchemaVersion] = h.schemaVersion
	}
}

// headReader reads the heads of a batch's envelopes. The deliveries of an event follow
// each other and share its envelope, which is then read once.
type headReader struct {
	envelope *byte // the first byte of the last one
	head     *head
}

func (r *headReader) read(envelope []byte) *head {
	if len(envelope) == 0 {
		return readHead(nil)
	}
	if r.envelope != &envelope[0] {
		r.envelope, r.head = &envelope[0], readHead(envelope)
	}
	return r.head
}
