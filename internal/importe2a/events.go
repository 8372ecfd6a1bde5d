package importe2a

import (
	"bytes"
	"context"
	"net/mail"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/e2aenvelope"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const rowEvents = "events"

// typeForm is the form of an event type, known or not: it becomes part of a subject of the broker.
var typeForm = regexp.MustCompile(`^[a-z0-9_]+(\.[a-z0-9_]+)*$`)

// event is a row of e2a's webhook_events.
type event struct {
	id, user, typ, envelope, agent, conversation, message, status string
	labels                                                        []string
	at                                                            time.Time
}

// importEvents imports the events of the last 30 days, and older ones that wait.
func (p *pass) importEvents(ctx context.Context) error {
	const t = "webhook_events"
	where := ` FROM ` + p.src.from(t, "e") + ` WHERE e.created_at >= ` + literal(p.from(stepEvents)) + ` OR e.status = 'pending'`
	total, err := p.count(ctx, `SELECT 1`+where)
	if err != nil {
		return err
	}
	if err := p.undated(ctx, rowEvents, t, ` FROM `+p.src.from(t, "d")+` WHERE d.status <> 'pending'`); err != nil {
		return err
	}
	at := &position{step: stepEvents}
	done := int64(0)
	ids := `SELECT e.id::text, coalesce(pg_column_size(e.envelope), 0)::bigint * 3` + where + ` ORDER BY e.created_at, e.id`
	return pages(ctx, p.tx, "events", ids, func(ids []string) error {
		list, err := p.readEvents(ctx, ids)
		if err != nil {
			return err
		}
		var batch []outbox.Imported
		for i := range list {
			at.row(list[i].at, list[i].status != "pending")
			if e, ok := p.event(&list[i]); ok {
				batch = append(batch, e)
			}
		}
		if err := p.writeEvents(ctx, at, batch); err != nil {
			return err
		}
		done += int64(len(ids))
		p.progress(rowEvents, done, total)
		return nil
	})
}

func (p *pass) readEvents(ctx context.Context, ids []string) ([]event, error) {
	const t, m = "webhook_events", "messages"
	rows, err := p.tx.Query(ctx, `SELECT e.id::text, e.user_id::text, e.type::text, `+p.src.envelope("e.envelope", "e.type")+` AS envelope, `+p.src.text(t, "e", "agent_id")+`, `+p.src.text(t, "e", "conversation_id")+`, `+
		p.src.text(t, "e", "message_id")+`, e.status::text, coalesce(`+p.src.col(m, "m", "labels", "text[]")+`, '{}'), e.created_at
		FROM `+p.src.from(t, "e")+` LEFT JOIN `+p.src.from(m, "m")+` ON m.id = `+p.src.col(t, "e", "message_id", "text")+`
		WHERE e.id = ANY($1) ORDER BY e.created_at, e.id`, ids)
	if err != nil {
		return nil, err
	}
	return collect(t, rows, func(r pgx.CollectableRow) (e event, err error) {
		err = r.Scan(&e.id, &e.user, &e.typ, &e.envelope, &e.agent, &e.conversation, &e.message, &e.status, &e.labels, &e.at)
		return e, err
	})
}

// event returns what a row becomes; false if it is left out or left to e2a.
func (p *pass) event(e *event) (out outbox.Imported, ok bool) {
	count := p.report.row(rowEvents)
	count.There++
	tenant, known := p.accounts.tenantOf[e.user]
	waits := e.status == "pending"
	switch {
	case !known:
		count.Out++
		p.report.note("%d events are left out: their user is gone")
		return out, false
	case !typeForm.MatchString(e.typ):
		count.Out++
		p.report.note("%d events are left out: their types can be no part of a subject")
		return out, false
	case waits && p.o.Follow:
		count.Left++
		return out, false
	}
	out = outbox.Imported{Envelope: []byte(e.envelope), MessageIDHeader: headerOf(e), Waiting: waits, Record: events.Record{
		ID: keyOf[events.EventKind](e.id), TenantID: tenant, Type: events.Type(e.typ), CreatedAt: p.placed(e.at),
		AgentID: mailbox.Fold(clip(e.agent)), ConversationID: clip(e.conversation), MessageID: messageText(e.message), Labels: cleanLabels(e.labels),
	}}
	return out, true
}

// headerOf returns the Message-ID of a received mail, which e2a keeps in the raw mail alone; "" for none.
func headerOf(e *event) string {
	if e.typ != string(events.EmailReceived) {
		return ""
	}
	received, err := e2aenvelope.DecodeReceived([]byte(e.envelope))
	if err != nil {
		return ""
	}
	return messageID(received.RawMessage)
}

// messageID returns the Message-ID of a raw mail; "" for none.
func messageID(raw []byte) string {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return ""
	}
	return m.Header.Get("Message-ID")
}

// messageText is the id of a message here, as text; "" for none.
func messageText(id string) string {
	if id == "" {
		return ""
	}
	return keyOf[events.MessageKind](id).String()
}

func clip(s string) string {
	if len(s) > events.MaxKeyBytes {
		return ""
	}
	return s
}

func cleanLabels(in []string) (out []string) {
	for _, l := range in {
		if l != "" && len(l) <= events.MaxKeyBytes && !strings.ContainsFunc(l, unicode.IsControl) && len(out) < events.MaxLabels {
			out = append(out, l)
		}
	}
	return out
}

// writeEvents writes a page of events.
func (p *pass) writeEvents(ctx context.Context, at *position, batch []outbox.Imported) error {
	count := p.report.row(rowEvents)
	if p.check {
		found, err := outbox.Records(ctx, p.o.Pool, refsOf(batch))
		count.Here += int64(len(found))
		return err
	}
	return p.page(ctx, at, func(tx pgx.Tx) error {
		added, err := p.insertEvents(ctx, tx, batch)
		if err != nil {
			return err
		}
		count.Added += int64(added)
		count.Here += int64(len(batch))
		return nil
	})
}

func refsOf(batch []outbox.Imported) (refs outbox.EventRefs) {
	for i := range batch {
		refs.Add(batch[i].ID, batch[i].CreatedAt)
	}
	return refs
}

// insertEvents inserts events, and fans those out that wait and are too large for the broker. It returns how many are
// new.
func (p *pass) insertEvents(ctx context.Context, tx pgx.Tx, batch []outbox.Imported) (int, error) {
	var large []int
	for i := range batch {
		if e := &batch[i]; e.Waiting && len(e.Envelope) > events.MaxEnvelopeBytes {
			e.Waiting = false
			large = append(large, i)
		}
	}
	added, err := outbox.Import(ctx, tx, batch)
	if err != nil || len(large) == 0 {
		return len(added), err
	}
	// The registry reads in other transactions; the webhooks of this import have committed before.
	if err := p.o.Registry.Load(ctx); err != nil {
		return 0, err
	}
	b := &pgx.Batch{}
	for _, i := range large {
		if seq, fresh := added[batch[i].ID]; fresh {
			record := batch[i].Record
			record.Seq = seq
			subscribers.QueueFanOut(b, p.o.Registry, &record, batch[i].Envelope)
		}
	}
	return len(added), tx.SendBatch(ctx, b).Close()
}
