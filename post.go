package fanmail

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/attempt"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// Payload is the body of a POST to an agent's own webhook.
type Payload struct {
	MessageID      string `json:"message_id,omitempty"`
	ConversationID string `json:"conversation_id,omitempty"`
	// From is the address of the mail's From field or, if it has none, the sender of the envelope.
	From string `json:"from"`
	// To are the addresses of the mail's To field.
	To []string `json:"to"`
	// CC are the addresses of the Cc field.
	CC []string `json:"cc,omitempty"`
	// ReplyTo are the addresses of the Reply-To field; it is never filled from From.
	ReplyTo []string `json:"reply_to,omitempty"`
	// Recipient is the agent's address, which need not be in To.
	Recipient string `json:"recipient"`
	// RawMessage is the mail as it was received; base64 in the JSON.
	RawMessage []byte `json:"raw_message"`
	// AuthHeaders are the results of the sender's authentication, by the name of the header of the POST that also
	// carries them.
	AuthHeaders map[string]string `json:"auth_headers"`
	ReceivedAt  time.Time         `json:"received_at"`
}

// UndeliveredError is the error of [Client.Deliver] if the endpoint did not answer 2xx.
type UndeliveredError struct {
	StatusCode int    // 0: no answer came
	Reason     string // one line
}

// Error says why.
func (e *UndeliveredError) Error() string {
	return "fanmail: the payload was not delivered: " + e.Reason
}

// Deliver POSTs a payload to the agent's own webhook, once, within 30 s. Nothing is read, recorded or attempted again. The
// address is checked as for any delivery. It returns a [*FieldError] for an agent without a URL or with a bad one, and an
// [*UndeliveredError] if the endpoint did not answer 2xx.
func (c *Client) Deliver(ctx context.Context, agent Agent, p Payload) error {
	if err := c.ready(); err != nil {
		return err
	}
	to, err := c.limits().NormalizeURL("webhook_url", agent.WebhookURL)
	if err != nil {
		return err
	}
	pay := agentwebhook.Payload(p)
	if r := c.posters.agents().Post(ctx, to, &pay); !r.Delivered {
		return &UndeliveredError{StatusCode: r.StatusCode, Reason: r.Error}
	}
	return nil
}

// DeliverSigned POSTs a body of JSON to a URL, once, within 15 s, signed with a secret and, unless it is "", with the
// previous one. Nothing is recorded or attempted again. The header webhook-id has the body's "id" if that is a text, or
// else a random id. The address is checked as for any delivery. The error is a [*FieldError] for a bad URL or secret; what
// the endpoint does is the outcome.
func (c *Client) DeliverSigned(ctx context.Context, to string, body []byte, secret, secretPrev string) (DeliveryOutcome, error) {
	if err := c.ready(); err != nil {
		return DeliveryOutcome{}, err
	}
	to, err := c.limits().NormalizeURL("url", to)
	if err != nil {
		return DeliveryOutcome{}, err
	}
	u, err := url.Parse(to)
	if err != nil {
		return DeliveryOutcome{}, &FieldError{Field: "url", Reason: "does not parse"}
	}
	if secret == "" {
		return DeliveryOutcome{}, &FieldError{Field: "secret", Reason: "is required"}
	}
	signer, err := signature.NewSigner(secret, secretPrev)
	if err != nil {
		return DeliveryOutcome{}, &FieldError{Field: "secret", Reason: err.Error()}
	}
	h := make(http.Header, 8)
	h.Set(attempt.HeaderAttempt, "1")
	signer.Sign(h, idOf(body), time.Now(), body)
	r := c.posters.signed().Post(ctx, attempt.Request{URL: u, Header: h, Body: attempt.Bytes(body), Length: int64(len(body))})
	return DeliveryOutcome{Success: r.Delivered, StatusCode: r.StatusCode, Error: r.Error}, nil
}

// idOf returns the id in an envelope, or a random one.
func idOf(body []byte) string {
	var env struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(body, &env); err == nil && printable(env.ID) {
		return env.ID
	}
	var b [16]byte
	_, _ = rand.Read(b[:])
	return fmt.Sprintf("post_%s", hex.EncodeToString(b[:]))
}

// printable reports whether an id can be the value of a header.
func printable(id string) bool {
	for _, r := range id {
		if r <= ' ' || r > '~' {
			return false
		}
	}
	return id != "" && len(id) <= 200
}
