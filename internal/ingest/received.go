package ingest

import (
	"time"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// received returns the part of the event's data that is the same for all agents.
func (p *parsed) received(m mail) *email.Received {
	r := &email.Received{
		Envelope:        email.Envelope{From: p.limit("envelope", mailparse.Text(m.from), maxIDBytes), To: []string{}},
		Subject:         p.subject,
		From:            p.from,
		To:              p.to,
		Cc:              p.cc,
		ReplyTo:         p.replyTo,
		MessageIDHeader: mailparse.Text(p.messageID),
		InReplyTo:       p.inReplyTo,
		References:      p.references,
		Date:            p.date,
		Text:            p.text,
		TextFromHTML:    p.textFromHTML,
		HTML:            p.html,
		ReplyText:       p.reply,
		ReplyHTML:       p.replyHTML,
		Sender:          p.sender,
		Resent:          p.resent,
		AutoSubmitted:   string(p.autoSubmitted),
		List:            p.list,
		Bounce:          p.bounce,
		Complaint:       p.complaint,
		Calendar:        p.calendar,
		Headers:         p.headers,
		Attachments:     p.attachments,
		Milters:         append([]email.Milter{}, m.milters...), // a list, also of none
		Quarantined:     quarantined(m.milters),
		Authentication:  m.authentication,
		Size:            m.size,
		ReceivedAt:      m.at.UTC().Format(time.RFC3339Nano),
		ParseError:      p.problem,
		Truncated:       []string{},
	}
	for _, f := range fields {
		if p.cut[f] || f == "authentication" && m.moreSignatures {
			r.Truncated = append(r.Truncated, f)
		}
	}
	return r
}

// unchecked are the authentication results where nothing was checked.
var unchecked = email.Authentication{
	SPF: email.SPF{Result: email.None}, DKIM: []email.DKIM{}, DMARC: email.DMARC{Result: email.None},
}
