package webhookrequest

import (
	"net/http"
	"strconv"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

const (
	// HeaderDelivery is the header with the delivery's id.
	HeaderDelivery = "Fanmail-Delivery-Id"
	// HeaderEventType is the header with the type of the event, in the canonical form
	// of net/http.
	HeaderEventType = "X-E2a-Event-Type"
	// HeaderSchemaVersion is the header with the schema version of the envelope.
	HeaderSchemaVersion = "X-E2a-Schema-Version"
	// UserAgent is the User-Agent.
	UserAgent = "Fanmail/1 (webhooks)"
)

// Headers makes the header of an attempt, without what the webhook's settings and the poster add.
func Headers(head *Head, delivery events.DeliveryID, number int) http.Header {
	h := make(http.Header, 12)
	head.set(h)
	values := [2]string{delivery.String(), strconv.Itoa(number)}
	h[HeaderDelivery] = values[0:1:1]
	h[attempt.HeaderAttempt] = values[1:2:2]
	return h
}

// Elided stands for a signature that is not shown.
const Elided = "…"

// Shown returns the whole header of an attempt at a time, with signatures and secrets elided. adds puts in what the
// webhook's settings add; nil: nothing.
func Shown(event events.ID, delivery events.DeliveryID, number int, at time.Time, envelope []byte, adds func(http.Header)) (http.Header, error) {
	var heads HeadReader
	h := Headers(heads.Read(envelope), delivery, number)
	signer, err := signature.NewSigner("shown to nobody")
	if err != nil {
		return nil, err
	}
	signer.Sign(h, event.String(), at, nil)
	h[signature.HeaderE2A] = []string{"t=" + h.Get(signature.HeaderTimestamp) + ",v1=" + Elided}
	h[signature.HeaderSignature] = []string{"v1," + Elided}
	if adds != nil {
		adds(h)
	}
	attempt.Complete(h, []string{UserAgent})
	return h, nil
}
