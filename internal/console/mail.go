package console

import (
	"encoding/json"
	"net/url"
)

// mailView is a mail as its event has it. A field of another form than expected is left out: producers choose their own.
type mailView struct {
	From, To, Cc, ReplyTo addresses
	Recipient, Subject    string
	MessageIDHeader, Date string
	Text, HTML            string
	MessageID             string
	ParseError            string
	Truncated             []string
	Attachments           []attachment
	Headers               [][2]string
	Authentication        struct {
		Checked bool `json:"checked"`
		SPF     struct {
			Result string `json:"result"`
		} `json:"spf"`
		DKIM []struct {
			Result, Domain string
		} `json:"dkim"`
		DMARC struct {
			Result string `json:"result"`
		} `json:"dmarc"`
	}
}

// attachment is a part of a mail.
type attachment struct {
	Filename    string `json:"filename"`
	ContentType string `json:"content_type"`
	Size        int64  `json:"size"`
	URL         string `json:"url"`
}

// Name is what the attachment is called.
func (a attachment) Name() string {
	if a.Filename == "" {
		return "without a name"
	}
	return a.Filename
}

// addresses are shown as they were written: "Name <address>".
type addresses []string

// UnmarshalJSON reads a string, an object, or a list of these. It never fails.
func (a *addresses) UnmarshalJSON(b []byte) error {
	*a = nil
	var one string
	var object struct{ Name, Address, Email string }
	var many []json.RawMessage
	switch {
	case json.Unmarshal(b, &one) == nil:
		if one != "" {
			*a = addresses{one}
		}
	case json.Unmarshal(b, &many) == nil:
		for _, each := range many[:min(len(many), mostAddresses)] {
			var next addresses
			_ = next.UnmarshalJSON(each)
			*a = append(*a, next...)
		}
	case json.Unmarshal(b, &object) == nil && object.Address+object.Email != "":
		address := object.Address + object.Email
		if object.Name != "" {
			address = object.Name + " <" + address + ">"
		}
		*a = addresses{address}
	}
	return nil
}

const (
	// mostAddresses bounds the addresses of a field that are shown.
	mostAddresses = 100
	// maxLine bounds the bytes of a text on one line.
	maxLine = 1000
)

// mailOf reads the data of an event; nil if it is about no mail.
func mailOf(data json.RawMessage) *mailView {
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) != nil {
		return nil
	}
	m := &mailView{}
	known := false
	for name, to := range map[string]any{
		"from": &m.From, "to": &m.To, "cc": &m.Cc, "reply_to": &m.ReplyTo, "recipient": &m.Recipient, "subject": &m.Subject,
		"message_id_header": &m.MessageIDHeader, "date": &m.Date, "text": &m.Text, "html": &m.HTML, "message_id": &m.MessageID,
		"parse_error": &m.ParseError, "truncated": &m.Truncated, "attachments": &m.Attachments, "headers": &m.Headers, "authentication": &m.Authentication,
	} {
		if v, ok := fields[name]; ok && json.Unmarshal(v, to) == nil {
			known = true
		}
	}
	if !known || len(m.From) == 0 && m.Subject == "" && m.Text == "" && m.HTML == "" {
		return nil
	}
	return m
}

// dataOf is the data of an envelope, in whichever form.
func dataOf(envelope json.RawMessage) json.RawMessage {
	var e struct {
		Data json.RawMessage `json:"data"`
	}
	_ = json.Unmarshal(envelope, &e)
	return e.Data
}

// ShownText is the plain text, not longer than a page should be.
func (m *mailView) ShownText() cutText { return shownText(m.Text, maxShown) }

// ShownSubject is the subject, not longer than a line should be.
func (m *mailView) ShownSubject() string {
	if c := shownText(m.Subject, maxLine); c.Cut {
		return c.Text + "…"
	}
	return m.Subject
}

// rawMail is the beginning of a raw mail.
type rawMail struct {
	Text cutText
	Size int64
}

// rawShown is how much of a raw mail a page shows.
const rawShown = 16 << 10

// rawBeginning reads the beginning of a message's raw mail; nil if there is none, or if it can't be read now.
func (c *call) rawBeginning(message string) (*rawMail, error) {
	var about struct {
		Size int64 `json:"size"`
	}
	if err := optional(c.get("/v1/messages/"+url.PathEscape(message), nil, &about)); err != nil || about.Size == 0 {
		return nil, err
	}
	text, more, err := c.begin("/v1/messages/"+url.PathEscape(message)+"/raw", rawShown)
	if err = optional(err); err != nil || text == nil {
		return nil, err
	}
	out := &rawMail{Text: shownText(string(text), rawShown), Size: about.Size}
	out.Text.Cut = more
	return out, nil
}
