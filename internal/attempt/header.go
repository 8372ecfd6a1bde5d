package attempt

import (
	"net/http"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// HeaderAttempt is the header with the number of the attempt, from 1.
	HeaderAttempt = "Fanmail-Attempt"
	// HeaderMessageID is the header by which JetStream knows a message that it has stored already.
	HeaderMessageID = jetstream.MsgIDHeader
	// headerEventID is the header with the event's id, which is the same in every attempt.
	headerEventID = "Webhook-Id"
)

// contentType is shared by all requests; nobody changes it.
var contentType = []string{"application/json"}

// Complete sets the headers that every poster adds.
func Complete(h http.Header, userAgent []string) {
	h["Content-Type"] = contentType
	h["User-Agent"] = userAgent
}

// AddMessageID sets the header that a message to a broker has beside those of a POST.
func AddMessageID(h http.Header) { h[HeaderMessageID] = h[headerEventID] }
