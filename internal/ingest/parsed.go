package ingest

import (
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// parsed is the readable content of a mail, each field cut to its limit.
type parsed struct {
	full                  bool // fields are not cut to their limits
	header                mailparse.Header
	print                 []byte // the fingerprint
	whole                 bool   // print is of all bytes
	messageID, inReplyTo  string
	references            []string // the oldest first
	named                 []string // what places it in a conversation, the root last
	root                  string   // what begins the conversation, as far as the header tells
	subject, date         string
	from, to, cc, replyTo []email.Address
	text, html            string
	textFromHTML          bool
	reply, replyHTML      *string // the bodies without their quotation; nil where there is none
	details                       // what only some mails have
	headers               [][2]string
	attachments           []email.Attachment
	cut                   map[string]bool // by field
	problem               string          // everything that could not be read, in one line; "" for nothing
}

// limit cuts a value to n bytes, and notes the field if it does. Fields in full are not cut.
func (p *parsed) limit(name, v string, n int) string {
	if p.full {
		return v
	}
	if len(v) > n {
		p.cut[name] = true
	}
	return mailparse.Cut(v, n)
}

// details are what only some mails have; nil where a mail has none.
type details struct {
	sender        *email.Address
	resent        *email.Resent
	autoSubmitted mailparse.AutoSubmitted
	list          *email.List
	bounce        *email.Bounce
	complaint     *email.Complaint
	calendar      *email.Calendar
	original      string // the Message-ID of the mail that a report is about
}

func (p *parsed) addresses(name string, list []mailparse.Address) []email.Address {
	out := make([]email.Address, 0, len(list))
	for _, a := range list {
		out = append(out, email.Address{Name: p.limit(name, a.Name, maxNameBytes), Address: p.limit(name, a.Address, maxIDBytes)})
	}
	return out
}
