package ingest

import (
	"time"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// maxResent is how many addresses of Resent fields an event has.
const maxResent = 10

func (p *parsed) readDetails(m *mailparse.Mail) {
	p.autoSubmitted = m.AutoSubmitted
	if m.Sender != nil {
		p.sender = &p.addresses("sender", []mailparse.Address{*m.Sender})[0]
	}
	if r := m.Resent; r != nil {
		most := maxResent
		if p.full {
			most = max(len(r.From), len(r.To))
		}
		p.resent = &email.Resent{
			From: p.addresses("resent", r.From[:min(len(r.From), most)]), To: p.addresses("resent", r.To[:min(len(r.To), most)]),
			MessageIDHeader: p.limit("resent", r.MessageID, maxIDBytes),
		}
		if r.HasDate {
			p.resent.Date = r.Date.Format(time.RFC3339)
		}
		if len(r.From) > most || len(r.To) > most || r.More {
			p.cut["resent"] = true
		}
	}
	if l := m.List; l != nil {
		p.list = &email.List{
			ID: p.limit("list", l.ID, maxIDBytes), Name: p.limit("list", l.Name, maxNameBytes), Post: p.limit("list", l.Post, maxIDBytes),
			Unsubscribe: l.Unsubscribe, OneClick: l.OneClick,
		}
	}
	if c := m.Calendar; c != nil {
		p.calendar = p.readCalendar(c)
	}
	if m.Report != nil {
		p.readReport(m.Report)
	}
}

func (p *parsed) readCalendar(c *mailparse.Calendar) *email.Calendar {
	limit := func(v string) string { return p.limit("calendar", v, maxNameBytes) }
	zone := c.Start.Zone
	if zone == "" {
		zone = c.End.Zone
	}
	return &email.Calendar{
		Method: limit(c.Method), UID: limit(c.UID), Sequence: limit(c.Sequence), Status: limit(c.Status), Summary: limit(c.Summary),
		Location: limit(c.Location), Start: c.Start.Value, End: c.End.Value, TimeZone: limit(zone),
		Organizer: email.Address{Name: limit(c.Organizer.Name), Address: limit(c.Organizer.Address)},
	}
}

func (p *parsed) readReport(r *mailparse.Report) {
	name := "bounce"
	if r.Complaint {
		name = "complaint"
	}
	p.original = mailparse.Cut(r.OriginalMessageID, maxIDBytes)
	if r.More {
		p.cut[name] = true
	}
	mta := p.limit(name, r.ReportingMTA, maxNameBytes)
	if r.Complaint {
		p.complaint = &email.Complaint{FeedbackType: p.limit(name, r.FeedbackType, maxNameBytes), OriginalMessageID: p.original, ReportingMTA: mta}
		if len(r.Recipients) > 0 {
			p.complaint.Recipient = p.limit(name, r.Recipients[0].Recipient, maxIDBytes)
		}
		return
	}
	b := &email.Bounce{OriginalMessageID: p.original, ReportingMTA: mta, Recipients: []email.BouncedRecipient{}}
	var first *email.BouncedRecipient
	for _, one := range r.Recipients {
		b.Recipients = append(b.Recipients, email.BouncedRecipient{
			Recipient: p.limit(name, one.Recipient, maxIDBytes), Action: p.limit(name, one.Action, maxNameBytes),
			Status: p.limit(name, one.Status, maxNameBytes), Diagnostic: p.limit(name, one.Diagnostic, maxNameBytes),
		})
	}
	for i := range b.Recipients {
		if one := &b.Recipients[i]; first == nil || one.Action == failed && first.Action != failed {
			first = one
		}
	}
	if first != nil {
		b.Recipient, b.Action, b.Status, b.Diagnostic = first.Recipient, first.Action, first.Status, first.Diagnostic
	}
	p.bounce = b
}

// failed is the action of a report about a mail that was given up.
const failed = "failed"
