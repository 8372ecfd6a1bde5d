package agentwebhook

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// Payload is the body of a POST, field for field that of the seed.
type Payload struct {
	MessageID      string `json:"message_id,omitempty"`
	ConversationID string `json:"conversation_id,omitempty"`
	// From is the address of the mail's From field, or, where it has none, the
	// sender of its envelope.
	From string `json:"from"`
	// To and CC are the addresses of those fields of the mail, the same for
	// every agent that it was for.
	To []string `json:"to"`
	CC []string `json:"cc,omitempty"`
	// ReplyTo are the addresses of the Reply-To field. It is absent where the
	// mail has none, and never the From.
	ReplyTo []string `json:"reply_to,omitempty"`
	// Recipient is the agent, which need not be in To.
	Recipient string `json:"recipient"`
	// RawMessage is the mail as it was received; base64 in the JSON.
	RawMessage []byte `json:"raw_message"`
	// AuthHeaders are the verdicts on the sender, which are the POST's headers
	// too.
	AuthHeaders map[string]string `json:"auth_headers"`
	ReceivedAt  time.Time         `json:"received_at"`
}

// The headers that tell what is known of the sender.
const (
	// HeaderVerified is "true" where DMARC passed: the From's domain vouches
	// for the mail. Everything else is "false".
	HeaderVerified = "X-E2A-Auth-Verified"
	// HeaderSender is the address that Verified speaks of, the From.
	HeaderSender = "X-E2A-Auth-Sender"
	// HeaderDomainCheck are the verdicts, as in "spf=pass; dkim=fail; dmarc=none".
	HeaderDomainCheck = "X-E2A-Auth-Domain-Check"
)

// received is what a payload takes from the data of the mail's event.
type received struct {
	MessageID      string `json:"message_id"`
	ConversationID string `json:"conversation_id"`
	Envelope       struct {
		From string `json:"from"`
	} `json:"envelope"`
	From           []address `json:"from"`
	To             []address `json:"to"`
	Cc             []address `json:"cc"`
	ReplyTo        []address `json:"reply_to"`
	ReceivedAt     time.Time `json:"received_at"`
	Authentication struct {
		Checked bool      `json:"checked"`
		SPF     verdict   `json:"spf"`
		DKIM    []verdict `json:"dkim"`
		DMARC   verdict   `json:"dmarc"`
	} `json:"authentication"`
}

type address struct {
	Address string `json:"address"`
}

type verdict struct {
	Result string `json:"result"`
}

// payload makes the POST's body, but for the raw mail, from the mail's
// envelope of type email.received.
func payload(agent string, envelope []byte) (*Payload, error) {
	env, err := events.DecodeEnvelope(envelope)
	if err != nil {
		return nil, fmt.Errorf("read a mail's event: %w", err)
	}
	var r received
	if err := json.Unmarshal(env.Data, &r); err != nil {
		return nil, fmt.Errorf("read a mail's event: %w", err)
	}
	p := &Payload{
		MessageID: r.MessageID, ConversationID: r.ConversationID, From: r.Envelope.From,
		To: plain(r.To), CC: plain(r.Cc), ReplyTo: plain(r.ReplyTo), Recipient: agent,
		RawMessage: []byte{}, ReceivedAt: r.ReceivedAt,
	}
	if len(r.From) > 0 {
		p.From = r.From[0].Address
	}
	p.AuthHeaders = r.verdicts(p.From)
	return p, nil
}

func (r *received) verdicts(from string) map[string]string {
	dkim := "none"
	for _, d := range r.Authentication.DKIM {
		// The best of the signatures: one that holds is enough.
		if dkim == "none" || d.Result == "pass" {
			dkim = d.Result
		}
	}
	verified := "false"
	if r.Authentication.Checked && r.Authentication.DMARC.Result == "pass" {
		verified = "true"
	}
	return map[string]string{
		HeaderVerified:    verified,
		HeaderSender:      headerValue(from),
		HeaderDomainCheck: headerValue("spf=" + r.Authentication.SPF.Result + "; dkim=" + dkim + "; dmarc=" + r.Authentication.DMARC.Result),
	}
}

// headerValue is text that may stand in a header: what is not printable ASCII
// is encoded as in mail.
func headerValue(s string) string {
	return mime.QEncoding.Encode("utf-8", strings.TrimSpace(s))
}

func plain(list []address) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, a.Address)
	}
	return out
}
