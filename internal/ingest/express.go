package ingest

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
)

// expressible reports whether the mail can be committed in one round trip: it is small, for one agent, makes one event,
// and names no mail besides the one that begins its conversation.
func (m *submission) expressible() bool {
	return m.spool == nil && m.blob == nil && len(m.copies) == 1 && len(m.copies[0].prepared) == 1 && len(m.named) <= 1
}

// express commits such a mail in one round trip. If something is not as it mostly is, it commits nothing and done is
// false: the agent has changed, the mail or its conversation is known, or another transaction holds a lock.
func (t *transaction) express(ctx context.Context) (done bool, err error) {
	m := t.mails[0]
	c := &m.copies[0]
	l := mailbox.Lone{Tenant: c.event.TenantID, Agent: c.event.AgentID, Senders: c.senders, Hooked: c.hooked}
	if len(m.named) > 0 {
		l.Named = m.named[0]
	}
	message := mailbox.Message{ID: c.id, TenantID: c.event.TenantID, AgentID: c.event.AgentID}
	var inserted outbox.Inserted
	b := &pgx.Batch{}
	b.Queue("begin")
	l.QueueExpect(b)
	outbox.QueueGateLock(b, c.event.TenantID)
	l.QueueNote(b)
	if err := outbox.QueueNew(ctx, b, prepared(t.mails)[0], &inserted); err != nil {
		return false, err
	}
	message.EventID = inserted.ID
	mailbox.QueueMails(b, inserted.CreatedAt, []mailbox.Mail{{ID: m.rawID, Raw: m.raw, Messages: []mailbox.Message{message}}})
	if c.hooked {
		agentwebhook.QueueDeliver(b, inserted.CreatedAt, []mailbox.Message{message})
	}
	queueCommit(b)
	if err := t.conn.SendBatch(ctx, b).Close(); err != nil {
		m.doubt(err)
		return false, fmt.Errorf("insert a mail: %w", err)
	}
	if !inserted.New {
		return false, nil
	}
	m.made, c.made, m.hooked = 1, 1, nil
	if c.hooked {
		m.hooked = []string{c.event.AgentID}
	}
	return true, nil
}
