package agentwebhook

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
)

// Payload is the body of a POST.
type Payload struct {
	MessageID      string `json:"message_id,omitempty"`
	ConversationID string `json:"conversation_id,omitempty"`
	// From is the address of the mail's From field or, if it has none, the
	// sender of the envelope.
	From string `json:"from"`
	// To and CC are the addresses of those fields of the mail. They are the same
	// for every agent that it was for.
	To []string `json:"to"`
	CC []string `json:"cc,omitempty"`
	// ReplyTo are the addresses of the Reply-To field. It is absent if the mail
	// has none; From never stands in for it.
	ReplyTo []string `json:"reply_to,omitempty"`
	// Recipient is the agent, which need not be in To.
	Recipient string `json:"recipient"`
	// RawMessage is the mail as it was received; base64 in the JSON.
	RawMessage []byte `json:"raw_message"`
	// AuthHeaders are the results of the sender's authentication. They are
	// headers of the POST too.
	AuthHeaders map[string]string `json:"auth_headers"`
	ReceivedAt  time.Time         `json:"received_at"`
}

// The headers with the results of the sender's authentication.
const (
	// HeaderVerified is "true" only if DMARC passed: the domain of From vouches
	// for the mail. Otherwise it is "false".
	HeaderVerified = "X-E2A-Auth-Verified"
	// HeaderSender is the address that HeaderVerified speaks of, the From.
	HeaderSender = "X-E2A-Auth-Sender"
	// HeaderDomainCheck are the results, as in "spf=pass; dkim=fail; dmarc=none".
	HeaderDomainCheck = "X-E2A-Auth-Domain-Check"
)

// newPayload makes the POST's body, without the raw mail, from the envelope of
// the mail's event.
func newPayload(agent string, envelope []byte) (*Payload, error) {
	env, err := events.DecodeEnvelope(envelope)
	if err != nil {
		return nil, fmt.Errorf("read a mail's event: %w", err)
	}
	var r email.Received
	if err := json.Unmarshal(env.Data, &r); err != nil {
		return nil, fmt.Errorf("read a mail's event: %w", err)
	}
	receivedAt, err := time.Parse(time.RFC3339Nano, r.ReceivedAt)
	if err != nil {
		return nil, fmt.Errorf("read a mail's event: %w", err)
	}
	p := &Payload{
		MessageID: r.MessageID, ConversationID: r.ConversationID, From: r.Envelope.From,
		To: addresses(r.To), CC: addresses(r.Cc), ReplyTo: addresses(r.ReplyTo), Recipient: agent,
		RawMessage: []byte{}, ReceivedAt: receivedAt,
	}
	if len(r.From) > 0 {
		p.From = r.From[0].Address
	}
	p.AuthHeaders = authHeaders(&r.Authentication, p.From)
	return p, nil
}

func authHeaders(a *email.Authentication, from string) map[string]string {
	dkim := email.Result("none")
	for _, d := range a.DKIM {
		// The best of the signatures: one that holds is enough.
		if dkim == "none" || d.Result == "pass" {
			dkim = d.Result
		}
	}
	verified := "false"
	if a.Checked && a.DMARC.Result == "pass" {
		verified = "true"
	}
	return map[string]string{
		HeaderVerified:    verified,
		HeaderSender:      headerValue(from),
		HeaderDomainCheck: headerValue(fmt.Sprintf("spf=%s; dkim=%s; dmarc=%s", a.SPF.Result, dkim, a.DMARC.Result)),
	}
}

// headerValue encodes what is not printable ASCII as mail does.
func headerValue(s string) string {
	return mime.QEncoding.Encode("utf-8", strings.TrimSpace(s))
}

func addresses(list []email.Address) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.Address)
	}
	return out
}
