package agentwebhook

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/e2aenvelope"
)

// Payload is the body of a POST.
type Payload struct {
	MessageID      string `json:"message_id,omitempty"`
	ConversationID string `json:"conversation_id,omitempty"`
	// From is the address of the mail's From field or, if it has none, the
	// sender of the envelope.
	From string `json:"from"`
	// To are the addresses of the mail's To field. They are the same for every
	// agent that gets the mail.
	To []string `json:"to"`
	// CC are the addresses of the Cc field. It is absent if the mail has none.
	CC []string `json:"cc,omitempty"`
	// ReplyTo are the addresses of the Reply-To field. It is absent if the mail has
	// none; it is never filled from From.
	ReplyTo []string `json:"reply_to,omitempty"`
	// Recipient is the agent's address, which need not be in To.
	Recipient string `json:"recipient"`
	// RawMessage is the mail as it was received; base64 in the JSON.
	RawMessage []byte `json:"raw_message"`
	// AuthHeaders are the results of the sender's authentication, by the name of
	// the header of the POST that also carries them.
	AuthHeaders map[string]string `json:"auth_headers"`
	ReceivedAt  time.Time         `json:"received_at"`
}

// The headers with the results of the sender's authentication.
const (
	// HeaderVerified is "true" only if DMARC passed: the domain of the From address
	// authenticated the mail. Otherwise it is "false".
	HeaderVerified = e2aenvelope.HeaderVerified
	// HeaderSender is the From address, to which HeaderVerified refers.
	HeaderSender = e2aenvelope.HeaderSender
	// HeaderDomainCheck are the results, as in "spf=pass; dkim=fail; dmarc=none".
	HeaderDomainCheck = e2aenvelope.HeaderDomainCheck
)

// errEvent means that the stored event of a mail is not one that Fanmail writes.
var errEvent = errors.New("the mail's stored event can't be decoded")

// newPayload makes the payload, without the raw mail, from the envelope of the mail's
// event. The error wraps errEvent.
func newPayload(agent string, envelope []byte) (*Payload, error) {
	env, err := events.DecodeEnvelope(envelope)
	if err != nil {
		if p, err := importedPayload(agent, envelope); err == nil {
			return p, nil
		}
		return nil, fmt.Errorf("%w: %w", errEvent, err)
	}
	var r email.Received
	if err := json.Unmarshal(env.Data, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", errEvent, err)
	}
	receivedAt, err := time.Parse(time.RFC3339Nano, r.ReceivedAt)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEvent, err)
	}
	p := &Payload{
		MessageID: r.MessageID, ConversationID: r.ConversationID, From: r.Envelope.From,
		To: addresses(r.To), CC: addresses(r.Cc), ReplyTo: addresses(r.ReplyTo), Recipient: agent,
		RawMessage: []byte{}, ReceivedAt: receivedAt,
	}
	if len(r.From) > 0 {
		p.From = r.From[0].Address
	}
	p.AuthHeaders = e2aenvelope.AuthHeaders(&r.Authentication, p.From)
	return p, nil
}

// importedPayload makes the payload of a mail that e2a received: its results of authentication are kept as they were.
func importedPayload(agent string, envelope []byte) (*Payload, error) {
	r, err := e2aenvelope.DecodeReceived(envelope)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEvent, err)
	}
	return &Payload{
		MessageID: r.MessageID, ConversationID: r.ConversationID, From: string(r.From), To: r.To, CC: r.CC, ReplyTo: r.ReplyTo, Recipient: agent,
		RawMessage: []byte{}, AuthHeaders: r.AuthHeaders, ReceivedAt: r.ReceivedAt,
	}, nil
}

func addresses(list []email.Address) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.Address)
	}
	return out
}
