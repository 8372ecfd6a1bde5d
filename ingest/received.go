package ingest

import (
	"bytes"
	"encoding/json"
	"time"
)

// Received is the "data" of an email.received event. Every string is UTF-8
// without NUL. Lists are never null.
type Received struct {
	// MessageID is the id of the agent's copy, "msg_…".
	MessageID string `json:"message_id"`
	// ConversationID is the thread, "conv_…", the same for all mails of a
	// tenant that answer each other.
	ConversationID string `json:"conversation_id"`
	// AgentID is the address of the agent that received the mail.
	AgentID string `json:"agent_id"`
	// Envelope is what the sending server said, whatever the header says.
	Envelope Envelope `json:"envelope"`
	// From, To, Cc and ReplyTo are as in the header. An absent field is an
	// empty list; an absent Reply-To is never the From.
	From    []Address `json:"from"`
	To      []Address `json:"to"`
	Cc      []Address `json:"cc"`
	ReplyTo []Address `json:"reply_to"`
	// Subject is decoded.
	Subject string `json:"subject"`
	// MessageIDHeader is the Message-ID without its angle brackets, "" for none.
	MessageIDHeader string `json:"message_id_header"`
	// Date is the Date field in RFC 3339, "" where absent or unreadable.
	Date string `json:"date"`
	// Text and HTML are the bodies; "" for none. A mail without a plain part
	// has no text.
	Text string `json:"text"`
	HTML string `json:"html"`
	// Headers are all fields in order, [name, value], unfolded, not decoded.
	Headers [][2]string `json:"headers"`
	// Attachments tell of the parts that are no body, in order.
	Attachments []Attachment `json:"attachments"`
	// Authentication are the verdicts on the sender.
	Authentication Authentication `json:"authentication"`
	// Size of the raw mail in bytes.
	Size int64 `json:"size"`
	// ReceivedAt is when its last byte came, RFC 3339, UTC, by the database's clock.
	ReceivedAt string `json:"received_at"`
	// RawURL is where the raw mail is fetched, with an API key.
	RawURL string `json:"raw_url"`
	// ParseError says what could not be read; absent where all could.
	ParseError string `json:"parse_error,omitempty"`
	// Truncated names the fields that were cut to fit the size of an event.
	Truncated []string `json:"truncated"`
}

// Envelope is the SMTP envelope as far as it concerns the agent.
type Envelope struct {
	// From is the return path, "" for the null sender.
	From string `json:"from"`
	// To are the recipient addresses of this agent alone, as the client wrote
	// them.
	To []string `json:"to"`
}

// Address is one address of a header field, decoded.
type Address struct {
	Name    string `json:"name"`
	Address string `json:"address"`
}

// Attachment describes a part of a mail, decoded.
type Attachment struct {
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	// Size in bytes and SHA256 (hex) are those of the decoded content.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// ContentID is what the HTML refers to as cid:…, without angle brackets.
	ContentID string `json:"content_id"`
	Inline    bool   `json:"inline"`
}

// Authentication are the verdicts of SPF, DKIM (one a signature) and DMARC.
// While Checked is false nothing was looked at and every result is "none".
type Authentication struct {
	Checked bool      `json:"checked"`
	SPF     Verdict   `json:"spf"`
	DKIM    []Verdict `json:"dkim"`
	DMARC   Verdict   `json:"dmarc"`
}

// Verdict is the result of one check, in the words of RFC 8601.
type Verdict struct {
	Result string `json:"result"`
}

// received gives the event's data as far as it is the same for all agents.
func (p *parsed) received(m mail) *Received {
	r := &Received{
		Envelope:        Envelope{From: p.limit("envelope", text(m.from), maxIDBytes), To: []string{}},
		Subject:         p.subject,
		From:            p.from,
		To:              p.to,
		Cc:              p.cc,
		ReplyTo:         p.replyTo,
		MessageIDHeader: text(p.messageID),
		Date:            p.date,
		Text:            p.text,
		HTML:            p.html,
		Headers:         p.headers,
		Attachments:     p.attachments,
		Authentication:  Authentication{SPF: Verdict{"none"}, DKIM: []Verdict{}, DMARC: Verdict{"none"}},
		Size:            int64(len(m.raw)),
		ReceivedAt:      m.at.UTC().Format(time.RFC3339Nano),
		ParseError:      p.problem(),
		Truncated:       []string{},
	}
	for _, f := range fields {
		if p.cut[f] {
			r.Truncated = append(r.Truncated, f)
		}
	}
	return r
}

// appendJSON is JSON without the escapes that only HTML pages need, since they
// would swell a mail's HTML.
func appendJSON(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // structs of strings, numbers and lists: cannot fail
	return bytes.TrimRight(b.Bytes(), "\n")
}
