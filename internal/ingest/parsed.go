package ingest

import (
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// parsed is the readable content of a mail, each field cut to its limit.
type parsed struct {
	header                mailparse.Header
	print                 []byte // the fingerprint
	messageID, inReplyTo  string
	references            []string // the oldest first
	named                 []string // what places it in a conversation, the root last
	root                  string   // what begins the conversation, as far as the header tells
	subject, date         string
	from, to, cc, replyTo []email.Address
	text, html            string
	textFromHTML          bool
	reply                 *string // the text without its quotation; nil where there is none
	headers               [][2]string
	attachments           []email.Attachment
	cut                   map[string]bool // by field
	problem               string          // everything that could not be read, in one line; "" for nothing
}

// limit cuts a value to n bytes, and notes the field if it does.
func (p *parsed) limit(name, v string, n int) string {
	if len(v) > n {
		p.cut[name] = true
	}
	return mailparse.Cut(v, n)
}
