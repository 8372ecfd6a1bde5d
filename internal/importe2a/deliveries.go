package importe2a

import (
	"cmp"
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	rowDelivered = "delivered deliveries"
	rowFailed    = "failed deliveries"
	rowPending   = "pending deliveries"
)

// delivery is a row of e2a's webhook_subscriber_deliveries with its event.
type delivery struct {
	id, hook, typ, message, status, lastError, replay string
	payload                                           *string // nil: its event is read from webhook_events
	attempts, most                                    int
	code                                              *int
	lastAttempt                                       *time.Time
	next, at                                          time.Time
	event                                             *string // nil: e2a has none
	eventAt                                           *time.Time
}

// eventOf is the id of the event of a delivery d in a statement. Deliveries from before e2a kept events name it in their
// payload alone.
func (p *pass) eventOf() string {
	return `coalesce(` + p.src.col("webhook_subscriber_deliveries", "d", "event_id", "text") + `, d.event_payload ->> 'id')`
}

// importDeliveries imports the deliveries of the last 30 days, and older ones that are pending.
func (p *pass) importDeliveries(ctx context.Context) error {
	const t = "webhook_subscriber_deliveries"
	where := ` FROM ` + p.src.from(t, "d") + ` WHERE d.created_at >= ` + literal(p.from(stepDeliveries)) + ` OR d.status = 'pending'`
	total, err := p.count(ctx, `SELECT 1`+where)
	if err != nil {
		return err
	}
	for kind, status := range map[string]string{rowDelivered: "= 'delivered'", rowFailed: "NOT IN ('pending', 'delivered')"} {
		if err := p.undated(ctx, kind, t, ` FROM `+p.src.from(t, "d")+` WHERE d.status `+status); err != nil {
			return err
		}
	}
	further, err := p.furtherDeliveries(ctx)
	if err != nil {
		return err
	}
	at := &position{step: stepDeliveries}
	done := int64(0)
	ids := `SELECT d.id::text, CASE WHEN ` + p.src.col(t, "d", "event_id", "text") + ` IS NULL THEN coalesce(pg_column_size(d.event_payload), 0)::bigint * 3 ELSE 0 END` + where + ` ORDER BY d.created_at, d.id`
	return pages(ctx, p.tx, "deliveries", ids, func(ids []string) error {
		list, err := p.readDeliveries(ctx, ids)
		if err != nil {
			return err
		}
		page := newDeliveryPage(p, further)
		for i := range list {
			at.row(list[i].at, list[i].status != "pending")
			page.add(&list[i])
		}
		if err := page.write(ctx, at); err != nil {
			return err
		}
		done += int64(len(ids))
		p.progress("deliveries", done, total)
		return nil
	})
}

// furtherDeliveries returns the deliveries of an event to a webhook that are not the first, and are no replays there:
// here they are replays. e2a made them while two of its paths ran at once.
func (p *pass) furtherDeliveries(ctx context.Context) (map[string]bool, error) {
	const t = "webhook_subscriber_deliveries"
	linked := p.src.col(t, "d", "event_id", "text") + ` IS NULL`
	query := `SELECT s.id FROM (SELECT d.id::text AS id, row_number() OVER (PARTITION BY ` + p.eventOf() + `, d.webhook_id ORDER BY ` + linked + `, d.created_at, d.id) AS n
		FROM ` + p.src.from(t, "d") + ` WHERE ` + p.src.col(t, "d", "replay_id", "text") + ` IS NULL AND ` + p.eventOf() + ` IS NOT NULL
		AND (d.created_at >= ` + literal(p.since) + ` OR d.status = 'pending')) AS s WHERE s.n > 1`
	further := map[string]bool{}
	err := each(ctx, p.tx, "further_deliveries", query, 10*pageRows, pgx.RowTo[string], func(ids []string) error {
		for _, id := range ids {
			further[id] = true
		}
		return nil
	})
	return further, err
}

func (p *pass) readDeliveries(ctx context.Context, ids []string) ([]delivery, error) {
	const t, m = "webhook_subscriber_deliveries", "messages"
	rows, err := p.tx.Query(ctx, `SELECT d.id::text, d.webhook_id::text, d.event_type::text, CASE WHEN e.id IS NULL OR e.created_at < $2 THEN `+
		p.src.envelope("d.event_payload", "d.event_type")+` END, `+
		p.src.text(t, "d", "message_id")+`, d.status::text, d.attempts::integer, d.max_attempts::integer, `+p.src.text(t, "d", "last_error")+`, `+p.src.col(t, "d", "last_status_code", "integer")+`, `+
		p.src.col(t, "d", "last_attempt_at", "timestamptz")+`, d.next_retry_at, d.created_at, `+p.src.text(t, "d", "replay_id")+`, e.id::text, e.created_at
		FROM `+p.src.from(t, "d")+` LEFT JOIN `+p.src.from("webhook_events", "e")+` ON e.id = `+p.eventOf()+`
		LEFT JOIN `+p.src.from(m, "m")+` ON m.id = `+p.src.col(t, "d", "message_id", "text")+` WHERE d.id = ANY($1) ORDER BY d.created_at, d.id`, ids, p.since)
	if err != nil {
		return nil, err
	}
	return collect(t, rows, func(r pgx.CollectableRow) (d delivery, err error) {
		err = r.Scan(&d.id, &d.hook, &d.typ, &d.payload, &d.message, &d.status, &d.attempts, &d.most, &d.lastError, &d.code, &d.lastAttempt, &d.next, &d.at, &d.replay, &d.event, &d.eventAt)
		return d, err
	})
}

// deliveryPage gathers what a page of deliveries becomes.
type deliveryPage struct {
	p       *pass
	further map[string]bool
	events  []outbox.Imported // that e2a has no row of, or none that is kept
	rows    []subscribers.ImportedDelivery
	seen    map[subscribers.Ref]bool
	counts  map[string]*Row // by status
}

func newDeliveryPage(p *pass, further map[string]bool) *deliveryPage {
	return &deliveryPage{p: p, further: further, seen: map[subscribers.Ref]bool{}, counts: map[string]*Row{
		"delivered": p.report.row(rowDelivered), "failed": p.report.row(rowFailed), "pending": p.report.row(rowPending),
	}}
}

// add adds a row.
func (g *deliveryPage) add(d *delivery) {
	p := g.p
	count := g.counts[d.status]
	if count == nil { // e2a has no other status
		return
	}
	count.There++
	w := p.accounts.webhookOf[d.hook]
	switch {
	case w == nil:
		count.Out++
		p.report.note("%d deliveries are left out: their webhooks are")
		return
	case d.status == "pending" && p.o.Follow:
		count.Left++
		return
	}
	event, eventAt, test := g.event(d, w)
	row := subscribers.ImportedDelivery{
		WebhookID: w.ID, TenantID: w.TenantID, EventID: event, EventCreatedAt: eventAt, EventType: events.Type(d.typ), MessageID: messageText(d.message),
		Kind: "live", Status: d.status, Attempts: min(max(d.attempts, 0), 1000), MaxAttempts: bounded(d.most), LastError: d.lastError, LastAttempt: d.lastAttempt, NextRetry: d.next,
	}
	if d.code != nil && *d.code >= 0 && *d.code < 1000 {
		row.LastStatusCode = d.code
	}
	switch {
	case d.replay != "":
		row.Kind, row.ReplayID = "replay", keyOf[events.ReplayKind](d.replay)
	case g.further[d.id]:
		row.Kind, row.ReplayID = "replay", derived[events.ReplayKind]("delivery", d.id)
	case test:
		row.Kind = "test"
	}
	row.CreatedAt = eventAt
	if row.Kind == "replay" {
		row.CreatedAt = p.placed(d.at)
	}
	row.ID = events.DeriveDeliveryID(event, w.ID, row.ReplayID, row.CreatedAt)
	if g.seen[row.Ref] {
		count.Out++
		p.report.note("%d deliveries are left out: they are copies of others, of the same event, webhook, replay and time")
		return
	}
	g.seen[row.Ref] = true
	g.rows = append(g.rows, row)
}

// event returns the event of a delivery here, and whether it is a test. An event that e2a has no row of, or whose row is
// past the retention here, is made of the payload.
func (g *deliveryPage) event(d *delivery, w *subscribers.ImportedWebhook) (id events.ID, at time.Time, test bool) {
	if d.payload == nil {
		return keyOf[events.EventKind](*d.event), *d.eventAt, false
	}
	p := g.p
	var head struct {
		ID        string    `json:"id"`
		CreatedAt time.Time `json:"created_at"`
		Data      struct {
			Test           bool   `json:"test"`
			ConversationID string `json:"conversation_id"`
			AgentID        string `json:"agent_id"`
			AgentEmail     string `json:"agent_email"`
			Agent          struct {
				ID string `json:"id"`
			} `json:"agent"`
		} `json:"data"`
	}
	_ = json.Unmarshal([]byte(*d.payload), &head) // what can't be read stays empty
	test = head.Data.Test
	id, at = keyOf[events.EventKind](head.ID), p.placed(d.at)
	old := d.eventAt != nil
	if _, err := events.ParseID(head.ID); err != nil {
		id, old = derived[events.EventKind]("delivery", d.id), true
	}
	// Deliveries of one event to several webhooks name the same time, and are deliveries of one event here.
	if named := head.CreatedAt.Truncate(time.Microsecond); !old && !named.Before(p.since) && !named.After(d.at.Add(time.Minute)) {
		at = named
	}
	g.events = append(g.events, outbox.Imported{Envelope: []byte(*d.payload), Unlisted: test || old, Record: events.Record{
		ID: id, TenantID: w.TenantID, Type: events.Type(d.typ), CreatedAt: at, MessageID: messageText(d.message),
		AgentID: mailbox.Fold(clip(cmp.Or(head.Data.AgentID, head.Data.Agent.ID, head.Data.AgentEmail))), ConversationID: clip(head.Data.ConversationID),
	}})
	return id, at, test
}

// write writes the page; a check counts what is here.
func (g *deliveryPage) write(ctx context.Context, at *position) error {
	if g.p.check {
		return g.compare(ctx)
	}
	return g.p.page(ctx, at, func(tx pgx.Tx) error {
		if _, err := outbox.Import(ctx, tx, distinctEvents(g.events)); err != nil {
			return err
		}
		var refs outbox.EventRefs
		for i := range g.rows {
			refs.Add(g.rows[i].EventID, g.rows[i].EventCreatedAt)
		}
		records, err := outbox.Records(ctx, tx, refs)
		if err != nil {
			return err
		}
		byStatus := map[string][]subscribers.ImportedDelivery{}
		for _, row := range g.rows {
			record, ok := records[row.EventID]
			if !ok || record.TenantID != row.TenantID {
				g.counts[row.Status].Out++
				g.p.report.note("%d deliveries are left out: their events are")
				continue
			}
			row.Seq = record.Seq
			byStatus[row.Status] = append(byStatus[row.Status], row)
		}
		for status, list := range byStatus {
			changed, err := subscribers.ImportDeliveries(ctx, tx, list)
			if err != nil {
				return err
			}
			g.counts[status].Added += int64(changed)
			g.counts[status].Here += int64(len(list))
		}
		return nil
	})
}

// compare counts the deliveries that are here, whatever has become of them.
func (g *deliveryPage) compare(ctx context.Context) error {
	byStatus := map[string][]subscribers.Ref{}
	for _, row := range g.rows {
		byStatus[row.Status] = append(byStatus[row.Status], row.Ref)
	}
	for status, refs := range byStatus {
		states, err := subscribers.CountStates(ctx, g.p.o.Pool, refs)
		if err != nil {
			return err
		}
		for _, n := range states {
			g.counts[status].Here += n
		}
	}
	return nil
}

// distinctEvents returns each event once.
func distinctEvents(list []outbox.Imported) []outbox.Imported {
	type key struct {
		id events.ID
		at int64
	}
	seen := map[key]bool{}
	out := list[:0]
	for _, e := range list {
		k := key{e.ID, e.CreatedAt.UnixMicro()}
		if !seen[k] {
			seen[k] = true
			out = append(out, e)
		}
	}
	return out
}

// bounded is a number of attempts that a delivery may have.
func bounded(n int) int { return min(max(n, 1), 30) }
