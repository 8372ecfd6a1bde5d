package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
)

// errStale says that a recipient is no longer the agent's that it was at RCPT, or that the agent has other rules for
// senders now.
var errStale = errors.New("a recipient has changed since it was looked up")

// transaction inserts mails in two batches: BEGIN is the first statement of one, COMMIT the last of the other.
type transaction struct {
	conn  *pgx.Conn
	mails []*submission

	agents        mailbox.Agents
	conversations mailbox.Conversations
	claims        []*outbox.Claim // of outbox.MaxInsert events each
}

// begin takes the locks, reads the agents and the conversations of the mails, and claims their keys. It returns the mails
// that can be inserted now, in their conversations. If these are not all, the transaction must be rolled back: it has
// claimed the keys of the others.
func (t *transaction) begin(ctx context.Context, wait bool) (sound []*submission, err error) {
	var tenants []events.TenantID
	var addresses []string
	for _, m := range t.mails {
		for i := range m.copies {
			ev := &m.copies[i].event
			addresses = append(addresses, ev.AgentID)
			if !slices.Contains(tenants, ev.TenantID) {
				tenants = append(tenants, ev.TenantID)
			}
			t.conversations.Add(ev.TenantID, m.named)
		}
	}
	b := &pgx.Batch{}
	b.Queue("begin")
	busy := make(map[events.TenantID]bool)
	t.conversations.QueueLock(b, wait)
	if wait {
		outbox.QueueLock(b, tenants)
	} else {
		outbox.QueueTryLock(b, tenants, busy)
	}
	mailbox.QueueAgents(b, addresses, t.agents)
	for some := range slices.Chunk(prepared(t.mails), outbox.MaxInsert) {
		c := &outbox.Claim{}
		if err := c.Queue(b, some); err != nil {
			return nil, err
		}
		t.claims = append(t.claims, c)
	}
	if err := t.conn.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("find the conversations and agents of mails: %w", err)
	}
	for _, m := range t.mails {
		if t.ready(m, busy) && t.move(m) {
			sound = append(sound, m)
		}
	}
	return sound, nil
}

// commit inserts what is new and commits.
func (t *transaction) commit(ctx context.Context) error {
	b := &pgx.Batch{}
	var done []outbox.Inserted
	evs := prepared(t.mails)
	for i, c := range t.claims {
		from := i * outbox.MaxInsert
		if err := c.QueueInsert(ctx, b, evs[from:min(from+outbox.MaxInsert, len(evs))]); err != nil {
			return err
		}
		done = append(done, c.Results()...)
	}
	stored, hooked, at := t.stored(done)
	for i := range stored {
		if err := stored[i].store(ctx, t.conn, at); err != nil {
			return err
		}
	}
	t.conversations.QueueNote(b)
	if len(stored) > 0 {
		mails := make([]mailbox.Mail, len(stored))
		for i := range stored {
			mails[i] = stored[i].Mail
		}
		mailbox.QueueMails(b, at, mails)
		agentwebhook.QueueDeliver(b, at, hooked)
	}
	queueCommit(b)
	if err := t.conn.SendBatch(ctx, b).Close(); err != nil {
		for _, m := range t.mails {
			m.doubt(err)
		}
		return fmt.Errorf("insert mails: %w", err)
	}
	return nil
}

func queueCommit(b *pgx.Batch) {
	b.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() == "ROLLBACK" {
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
}

// prepared returns the events of mails: of each copy its own, then that about a report.
func prepared(mails []*submission) (evs []outbox.Prepared) {
	for _, m := range mails {
		for i := range m.copies {
			for _, ev := range m.copies[i].prepared {
				ev = ev.Counted()
				if len(mails) > 1 {
					ev = ev.Traced(m.ctx)
				}
				evs = append(evs, ev)
			}
		}
	}
	return evs
}

// newMail is a mail with at least one new message.
type newMail struct {
	mailbox.Mail

	from *submission
}

// store sends a mail from a temporary file to the database.
func (n *newMail) store(ctx context.Context, conn *pgx.Conn, at time.Time) error {
	if n.from.spool == nil || n.from.blob != nil {
		return nil
	}
	raw, err := mailbox.StoreRaw(ctx, conn, at, n.from.rawID, n.from.spool.reader(), n.from.size)
	if err == nil {
		n.Stored = &raw
	}
	return err
}

// stored returns the mails with new messages, those messages whose agent has a webhook, and the transaction's time. It
// sets the results of all mails.
func (t *transaction) stored(done []outbox.Inserted) (stored []newMail, hooked []mailbox.Message, at time.Time) {
	i := 0
	for _, m := range t.mails {
		mail := newMail{Mail: mailbox.Mail{ID: m.rawID, Raw: m.raw, Blob: m.blob}, from: m}
		m.hooked = nil
		for c := range m.copies {
			ev, d := &m.copies[c].event, done[i]
			m.copies[c].made = 0
			for range m.copies[c].prepared {
				if done[i].New {
					m.copies[c].made++
				}
				i++
			}
			if !d.New {
				continue
			}
			at = d.CreatedAt
			one := mailbox.Message{ID: m.copies[c].id, TenantID: ev.TenantID, AgentID: ev.AgentID, EventID: d.ID}
			mail.Messages = append(mail.Messages, one)
			if a, ok := t.agents.Taking(ev.TenantID, ev.AgentID); ok && a.WebhookURL != nil {
				hooked, m.hooked = append(hooked, one), append(m.hooked, ev.AgentID)
			}
		}
		if m.made = len(mail.Messages); m.made > 0 {
			stored = append(stored, mail)
		}
	}
	return stored, hooked, at
}

// ready reports whether the mail can be inserted now, and sets its result if it cannot.
func (t *transaction) ready(m *submission, busy map[events.TenantID]bool) bool {
	for i := range m.copies {
		ev := &m.copies[i].event
		if a, ok := t.agents.Taking(ev.TenantID, ev.AgentID); !ok || !a.Senders.Equal(m.copies[i].senders) {
			m.err = errStale
			return false
		}
		if busy[ev.TenantID] || t.conversations.Busy(ev.TenantID, m.named) {
			m.alone = true
		}
	}
	return !m.alone
}

// move puts each copy into the conversation in which its tenant knows the mail, or a mail that it names.
func (t *transaction) move(m *submission) bool {
	for i := range m.copies {
		c := &m.copies[i]
		conversation, ok := t.conversations.Place(c.event.TenantID, m.named)
		if !ok {
			continue
		}
		if m.err = c.move(conversation.String()); m.err != nil {
			return false
		}
	}
	return true
}
