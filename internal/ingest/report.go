package ingest

import (
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/outbox"
)

// reported returns the event that a report makes besides email.received: email.bounced for a mail that was given up,
// email.complained for a complaint. ok is false if the copy is no such report, or does not name the mail that it is
// about.
func (c *copied) reported() (ev events.Event, ok bool) {
	ev = events.Event{
		TenantID: c.event.TenantID, AgentID: c.event.AgentID, ConversationID: c.event.ConversationID, MessageID: c.event.MessageID,
		IdempotencyKey: c.event.IdempotencyKey, // keys are separate for each type
	}
	d := c.data
	switch {
	case d.Bounce != nil && d.Bounce.Action == failed && d.Bounce.OriginalMessageID != "":
		bounce := d.Bounce
		cutBounce(&bounce, dataBytes-maxReportFixed)
		ev.Type = events.EmailBounced
		ev.Data = appendJSON(email.Bounced{
			MessageID: d.MessageID, ConversationID: d.ConversationID, AgentID: d.AgentID, Bounce: *bounce, ReceivedAt: d.ReceivedAt,
		})
	case d.Complaint != nil && d.Complaint.OriginalMessageID != "":
		ev.Type = events.EmailComplained
		ev.Data = appendJSON(email.Complained{
			MessageID: d.MessageID, ConversationID: d.ConversationID, AgentID: d.AgentID, Complaint: *d.Complaint, ReceivedAt: d.ReceivedAt,
		})
	default:
		return ev, false
	}
	return ev, true
}

// maxReportFixed bounds what an event about a report has besides the report, in bytes.
const maxReportFixed = 8 << 10

// prepare encodes the events, once. It fails if one is not valid.
func (c *copied) prepare() error {
	evs := []events.Event{c.event}
	if report, ok := c.reported(); ok {
		evs = append(evs, report)
	}
	c.prepared = c.prepared[:0]
	for _, ev := range evs {
		p, err := outbox.Prepare(ev)
		if err != nil {
			return err
		}
		c.prepared = append(c.prepared, p)
	}
	c.events = len(c.prepared)
	c.event.Data = nil // the envelope has it now
	return nil
}

// move puts the copy into the conversation.
func (c *copied) move(conversation string) error {
	if c.event.ConversationID == conversation {
		return nil
	}
	c.event.ConversationID, c.data.ConversationID = conversation, conversation
	c.event.Data = encode(c.data)
	return c.prepare()
}
