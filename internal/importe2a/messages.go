package importe2a

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/e2aenvelope"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
)

const rowMessages = "received mails"

// message is a row of e2a's messages.
type message struct {
	id, agent, sender, recipient, subject, headers, conversation string
	to, cc, replyTo                                              []string
	raw                                                          []byte
	at                                                           time.Time
	event                                                        *string // the id of its event; nil: it has none
	eventAt                                                      *time.Time
}

// receivedEvents joins the event of a received mail, e, to a message m.
func (p *pass) receivedEvents() string {
	const t = "webhook_events"
	message := p.src.col(t, "v", "message_id", "text")
	return ` LEFT JOIN (SELECT DISTINCT ON (` + message + `) ` + message + ` AS message_id, v.id::text AS id, v.created_at FROM ` + p.src.from(t, "v") +
		` WHERE v.type = 'email.received' AND ` + message + ` IS NOT NULL ORDER BY ` + message + `, v.created_at, v.id) AS e ON e.message_id = m.id::text`
}

// importMessages imports the received mails of the last 30 days.
func (p *pass) importMessages(ctx context.Context) error {
	const t = "messages"
	expires := p.src.col(t, "m", "expires_at", "timestamptz")
	where := ` FROM ` + p.src.from(t, "m") + ` WHERE m.direction = 'inbound' AND m.created_at >= ` + literal(p.from(stepMessages)) + ` AND (` + expires + ` IS NULL OR ` + expires + ` > now())`
	total, err := p.count(ctx, `SELECT 1`+where)
	if err != nil {
		return err
	}
	if err := p.undated(ctx, rowMessages, t, ` FROM `+p.src.from(t, "d")+` WHERE d.direction = 'inbound'`); err != nil {
		return err
	}
	at := &position{step: stepMessages}
	done := int64(0)
	ids := `SELECT m.id::text, coalesce(octet_length(` + p.src.col(t, "m", "raw_message", "bytea") + `), 0)::bigint` + where + ` ORDER BY m.created_at, m.id`
	return pages(ctx, p.tx, "messages", ids, func(ids []string) error {
		list, err := p.readMessages(ctx, ids)
		if err != nil {
			return err
		}
		var mails []mailbox.ImportedMail
		var own []outbox.Imported // events of mails that have none there
		for i := range list {
			m := &list[i]
			at.row(m.at, true)
			mail, e, err := p.message(m)
			if err != nil {
				return err
			}
			if mail != nil {
				mails = append(mails, *mail)
			}
			if e != nil {
				own = append(own, *e)
			}
		}
		if err := p.writeMessages(ctx, at, mails, own); err != nil {
			return err
		}
		done += int64(len(ids))
		p.progress(rowMessages, done, total)
		return nil
	})
}

func (p *pass) readMessages(ctx context.Context, ids []string) ([]message, error) {
	const t = "messages"
	list := func(column string) string { return "coalesce(" + p.src.col(t, "m", column, "text[]") + ", '{}')" }
	rows, err := p.tx.Query(ctx, `SELECT m.id::text, m.agent_id::text, `+p.src.text(t, "m", "sender")+`, `+p.src.text(t, "m", "recipient")+`, `+p.src.text(t, "m", "subject")+`, `+
		p.src.text(t, "m", "auth_headers")+`, `+p.src.text(t, "m", "conversation_id")+`, `+list("to_recipients")+`, `+list("cc")+`, `+list("reply_to")+`, `+
		p.src.col(t, "m", "raw_message", "bytea")+`, m.created_at, e.id, e.created_at FROM `+p.src.from(t, "m")+p.receivedEvents()+`
		WHERE m.id = ANY($1) ORDER BY m.created_at, m.id`, ids)
	if err != nil {
		return nil, err
	}
	return collect(t, rows, func(r pgx.CollectableRow) (m message, err error) {
		err = r.Scan(&m.id, &m.agent, &m.sender, &m.recipient, &m.subject, &m.headers, &m.conversation, &m.to, &m.cc, &m.replyTo, &m.raw, &m.at, &m.event, &m.eventAt)
		return m, err
	})
}

// place returns the event and the creation time of a message here: those of its event, if that is kept.
func (p *pass) place(id string, at time.Time, event *string, eventAt *time.Time) (events.ID, time.Time, bool) {
	if event != nil && eventAt != nil && !eventAt.Before(p.since) {
		return keyOf[events.EventKind](*event), *eventAt, true
	}
	return derived[events.EventKind]("message", id), at, false
}

// message returns what a row becomes, with an event if it has none; nil if it is left out.
func (p *pass) message(m *message) (*mailbox.ImportedMail, *outbox.Imported, error) {
	count := p.report.row(rowMessages)
	count.There++
	agent, known := p.accounts.agentOf[m.agent]
	if !known {
		count.Out++
		p.report.note("%d received mails are left out: their agents are")
		return nil, nil, nil
	}
	id := keyOf[events.MessageKind](m.id)
	event, at, has := p.place(m.id, m.at, m.event, m.eventAt)
	mail := &mailbox.ImportedMail{Bytes: m.raw, Message: mailbox.Message{ID: id, CreatedAt: at, TenantID: agent.TenantID, AgentID: agent.Address, EventID: event}}
	if has {
		return mail, nil, nil
	}
	var headers map[string]e2aenvelope.Text
	_ = json.Unmarshal([]byte(m.headers), &headers) // '' and another form: none
	recipient := m.recipient
	if recipient == "" {
		recipient = m.agent
	}
	envelope, err := e2aenvelope.EncodeReceived(event, &e2aenvelope.Received{
		MessageID: m.id, ConversationID: m.conversation, Agent: e2aenvelope.AgentOf(m.agent), From: e2aenvelope.Text(m.sender), To: m.to, CC: m.cc, ReplyTo: m.replyTo,
		Recipient: e2aenvelope.Text(recipient), Subject: e2aenvelope.Text(m.subject), RawMessage: []byte{}, AuthHeaders: e2aenvelope.CleanHeaders(headers), ReceivedAt: m.at.UTC(),
	})
	return mail, &outbox.Imported{Envelope: envelope, MessageIDHeader: messageID(m.raw), Unlisted: true, Record: events.Record{
		ID: event, TenantID: agent.TenantID, Type: events.EmailReceived, CreatedAt: at, AgentID: agent.Address, ConversationID: clip(m.conversation), MessageID: id.String(),
	}}, err
}

func (p *pass) writeMessages(ctx context.Context, at *position, mails []mailbox.ImportedMail, own []outbox.Imported) error {
	count := p.report.row(rowMessages)
	if p.check {
		ids, created := make([]events.MessageID, len(mails)), make([]time.Time, len(mails))
		for i := range mails {
			ids[i], created[i] = mails[i].ID, mails[i].CreatedAt
		}
		here, err := mailbox.CountMessages(ctx, p.o.Pool, ids, created)
		count.Here += here
		return err
	}
	return p.page(ctx, at, func(tx pgx.Tx) error {
		if _, err := outbox.Import(ctx, tx, own); err != nil {
			return err
		}
		added, err := mailbox.ImportMails(ctx, tx, mails)
		if err != nil {
			return err
		}
		count.Added += int64(added)
		count.Here += int64(len(mails))
		return nil
	})
}
