package ingest

import (
	"net/netip"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
)

// recipient is an address of the envelope that belongs to an agent.
type recipient struct {
	address string // as the client wrote it
	agent   string
	tenant  events.TenantID
}

// mail is what one SMTP transaction received.
type mail struct {
	from string
	to   []recipient
	raw  []byte
	at   time.Time // by the database's clock

	client         netip.Addr
	helo           string
	authentication email.Authentication
	moreSignatures bool // than authentication tells of
}

// copied is one agent's copy of a mail.
type copied struct {
	id    events.MessageID
	event events.Event
	data  *email.Received // the event's, before it is cut to fit
}

// move puts the copy into the conversation.
func (c *copied) move(conversation string) {
	if c.event.ConversationID == conversation {
		return
	}
	c.event.ConversationID, c.data.ConversationID = conversation, conversation
	c.event.Data = encode(c.data)
}
