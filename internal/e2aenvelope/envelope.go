package e2aenvelope

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
)

// Version is the name of the envelope in settings.
const Version = "v0.4"

// The headers with the results of the sender's authentication.
const (
	// HeaderVerified is "true" only if DMARC passed: the domain of the From address
	// authenticated the mail. Otherwise it is "false".
	HeaderVerified = "X-E2A-Auth-Verified"
	// HeaderSender is the From address, to which HeaderVerified refers.
	HeaderSender = "X-E2A-Auth-Sender"
	// HeaderDomainCheck are the results, as in "spf=pass; dkim=fail; dmarc=none".
	HeaderDomainCheck = "X-E2A-Auth-Domain-Check"

	headerPrefix = "X-E2a-Auth-"
)

// envelope is the old form. The type is in event or, since later releases of e2a, in type.
type envelope struct {
	Event         string          `json:"event,omitempty"`
	Type          string          `json:"type,omitempty"`
	ID            string          `json:"id"`
	CreatedAt     time.Time       `json:"created_at"`
	SchemaVersion any             `json:"schema_version,omitempty"`
	Data          json.RawMessage `json:"data"`
}

// Received is the data of an email.received event in the old form.
type Received struct {
	MessageID      string            `json:"message_id"`
	ConversationID string            `json:"conversation_id"`
	Agent          Agent             `json:"agent"`
	From           Text              `json:"from"`
	To             Texts             `json:"to"`
	CC             Texts             `json:"cc"`
	ReplyTo        Texts             `json:"reply_to"`
	Recipient      Text              `json:"recipient"`
	Subject        Text              `json:"subject"`
	RawMessage     []byte            `json:"raw_message"`
	AuthHeaders    map[string]string `json:"auth_headers"`
	ReceivedAt     time.Time         `json:"received_at"`
}

// Agent names an agent in the old form.
type Agent struct {
	ID     string `json:"id"`
	Email  string `json:"email"`
	Domain string `json:"domain"`
}

// AgentOf returns the agent of an address.
func AgentOf(address string) Agent {
	_, domain, _ := strings.Cut(address, "@")
	return Agent{ID: address, Email: address, Domain: domain}
}

// Text is a string. A value of another kind is read as "", and an object with an address as that.
type Text string

// UnmarshalJSON never fails.
func (t *Text) UnmarshalJSON(b []byte) error {
	var plain string
	if json.Unmarshal(b, &plain) == nil {
		*t = Text(plain)
		return nil
	}
	var address struct{ Address, Email string }
	*t = ""
	if json.Unmarshal(b, &address) == nil {
		*t = Text(address.Address + address.Email)
	}
	return nil
}

// Texts is a list of strings; null and one string are read as lists.
type Texts []string

// UnmarshalJSON never fails.
func (l *Texts) UnmarshalJSON(b []byte) error {
	*l = Texts{}
	var many []Text
	if json.Unmarshal(b, &many) != nil {
		var one Text
		_ = json.Unmarshal(b, &one)
		many = []Text{one}
	}
	for _, t := range many {
		if t != "" {
			*l = append(*l, string(t))
		}
	}
	return nil
}

// ErrForm means that bytes are no envelope of e2a, or that of an event of another type.
var ErrForm = errors.New("not an envelope of e2a for a received mail")

// DecodeReceived reads the envelope of an email.received event as e2a wrote it. AuthHeaders has canonical names of the
// headers that begin with X-E2A-Auth-, with values that a header can hold. A missing ReceivedAt is the event's time.
// Without a message id and a time it is an error. Every error wraps [ErrForm].
func DecodeReceived(b []byte) (Received, error) {
	var env envelope
	if err := json.Unmarshal(b, &env); err != nil {
		return Received{}, fmt.Errorf("%w: %w", ErrForm, err)
	}
	if t := env.Event + env.Type; t != string(events.EmailReceived) {
		return Received{}, ErrForm
	}
	r, err := decodeData(env.Data)
	if err != nil {
		return Received{}, err
	}
	if r.ReceivedAt.IsZero() {
		r.ReceivedAt = env.CreatedAt
	}
	if r.MessageID == "" || r.ReceivedAt.IsZero() {
		return Received{}, fmt.Errorf("%w: message or time is missing", ErrForm)
	}
	return r, nil
}

// decodeData reads field by field, so that one of another form does not hide the others.
func decodeData(data json.RawMessage) (Received, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return Received{}, fmt.Errorf("%w: %w", ErrForm, err)
	}
	r := Received{To: Texts{}, CC: Texts{}, ReplyTo: Texts{}}
	var headers map[string]Text
	for name, to := range map[string]any{
		"message_id": &r.MessageID, "conversation_id": &r.ConversationID, "from": &r.From, "to": &r.To, "cc": &r.CC, "reply_to": &r.ReplyTo,
		"recipient": &r.Recipient, "subject": &r.Subject, "raw_message": &r.RawMessage, "auth_headers": &headers, "received_at": &r.ReceivedAt,
	} {
		if v, ok := fields[name]; ok {
			_ = json.Unmarshal(v, to)
		}
	}
	r.AuthHeaders = CleanHeaders(headers)
	return r, nil
}

// CleanHeaders returns the headers whose names begin with X-E2A-Auth-, with values that a header can hold.
func CleanHeaders[T ~string](in map[string]T) map[string]string {
	out := make(map[string]string, len(in))
	for name, value := range in {
		if len(name) > len(headerPrefix) && strings.EqualFold(name[:len(headerPrefix)], headerPrefix) && token(name) {
			out[name] = HeaderValue(string(value))
		}
	}
	return out
}

// token reports whether a text can be the name of a header here.
func token(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// HeaderValue encodes text that is not printable ASCII as an RFC 2047 word.
func HeaderValue(s string) string {
	return mime.QEncoding.Encode("utf-8", strings.TrimSpace(s))
}

// AuthHeaders are the results of authenticating the sender, by the names of the headers that carry them.
func AuthHeaders(a *email.Authentication, from string) map[string]string {
	dkim := email.Result("none")
	for _, d := range a.DKIM {
		// One valid signature is enough.
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
		HeaderSender:      HeaderValue(from),
		HeaderDomainCheck: HeaderValue(fmt.Sprintf("spf=%s; dkim=%s; dmarc=%s", a.SPF.Result, dkim, a.DMARC.Result)),
	}
}

// Message returns the message and the creation time of an event whose old form holds the raw mail. It returns false for
// envelopes that [Encode] needs no raw mail for.
func Message(b []byte) (id events.MessageID, createdAt time.Time, ok bool) {
	if eventType, _ := events.Head(b); string(eventType) != string(events.EmailReceived) {
		return id, createdAt, false
	}
	env, err := events.DecodeEnvelope(b)
	if err != nil {
		return id, createdAt, false
	}
	var data struct {
		MessageID string `json:"message_id"`
	}
	_ = json.Unmarshal(env.Data, &data)
	id, err = events.Parse[events.MessageKind](data.MessageID)
	return id, env.CreatedAt, err == nil
}

// Encode returns one of Fanmail's envelopes in the old form. raw is the raw mail of an email.received event; nil: it is
// not at hand, and raw_message is empty. An envelope that is not Fanmail's is returned as it is.
func Encode(b, raw []byte) ([]byte, error) {
	env, err := events.DecodeEnvelope(b)
	if err != nil {
		return b, nil //nolint:nilerr // an imported event has the old form already
	}
	out := envelope{Event: string(env.Type), ID: env.ID.String(), CreatedAt: env.CreatedAt, SchemaVersion: env.SchemaVersion, Data: env.Data}
	if env.Type == events.EmailReceived {
		if data, ok := receivedData(env.Data, raw); ok {
			out.Data = data
		}
	}
	return marshal(out)
}

// marshal encodes without escaping <, > and &, as the stored envelopes are.
func marshal(v any) ([]byte, error) {
	var to bytes.Buffer
	e := json.NewEncoder(&to)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("encode an envelope of e2a: %w", err)
	}
	return bytes.TrimSuffix(to.Bytes(), []byte{'\n'}), nil
}

// receivedData returns false for the data of another producer than ingest.
func receivedData(data json.RawMessage, raw []byte) (json.RawMessage, bool) {
	var r email.Received
	if json.Unmarshal(data, &r) != nil || r.MessageID == "" {
		return nil, false
	}
	at, err := time.Parse(time.RFC3339Nano, r.ReceivedAt)
	if err != nil {
		return nil, false
	}
	from := r.Envelope.From
	if len(r.From) > 0 {
		from = r.From[0].Address
	}
	if raw == nil {
		raw = []byte{}
	}
	old := Received{
		MessageID: r.MessageID, ConversationID: r.ConversationID, Agent: AgentOf(r.AgentID), From: Text(from), To: addresses(r.To), CC: addresses(r.Cc), ReplyTo: addresses(r.ReplyTo),
		Recipient: Text(r.AgentID), Subject: Text(r.Subject), RawMessage: raw, AuthHeaders: AuthHeaders(&r.Authentication, from), ReceivedAt: at,
	}
	out, err := marshal(old)
	return out, err == nil
}

func addresses(list []email.Address) Texts {
	out := make(Texts, 0, len(list))
	for _, a := range list {
		out = append(out, a.Address)
	}
	return out
}

// EncodeReceived returns an envelope in the old form, without the raw mail, for a mail of e2a that has no event.
func EncodeReceived(id events.ID, r *Received) ([]byte, error) {
	data, err := marshal(r)
	if err != nil {
		return nil, err
	}
	return marshal(envelope{Event: string(events.EmailReceived), ID: id.String(), CreatedAt: r.ReceivedAt, SchemaVersion: events.SchemaVersion, Data: data})
}
