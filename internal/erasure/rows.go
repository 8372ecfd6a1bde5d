package erasure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// eventsAtOnce bounds the events of one batch, and itemsAtOnce the noted items.
	eventsAtOnce = 100
	itemsAtOnce  = 500
	// tenantEvents and tenantRows bound the events and the other rows of one batch of a tenant.
	tenantEvents = 500
	tenantRows   = 2000
	// latest is how long the transaction of an event may take: the event has the time of its beginning. Events that are
	// committed after the first pass are found by the second, which goes back that far.
	latest = time.Hour
)

// found are the rows of a batch.
type found struct {
	events   []events.Record
	unsure   []outbox.Involved // whose mail is to be searched
	messages []events.MessageID
	at       []time.Time // the messages' times
}

// add adds events, and the messages of received mails among them.
func (f *found) add(list ...events.Record) {
	for i := range list {
		f.events = append(f.events, list[i])
		if list[i].Type != events.EmailReceived {
			continue
		}
		if id, err := events.Parse[events.MessageKind](list[i].MessageID); err == nil {
			f.messages, f.at = append(f.messages, id), append(f.at, list[i].CreatedAt)
		}
	}
}

// rows does one batch of the phases that work on tables.
func (w *work) rows(ctx context.Context, tx pgx.Tx, settle time.Duration) error {
	if w.kind == Tenant && w.phase == phaseLate {
		waits, err := w.awaitWriters(ctx, tx)
		if err != nil || waits {
			w.wait = writersEvery
			return err
		}
	}
	left, err := w.batch(ctx, tx)
	if err != nil {
		return err
	}
	switch {
	case left:
	case w.phase == phaseItems:
		return w.late(ctx, tx)
	case w.phase == phaseRows:
		w.enter(phaseLate, settle)
	case w.phase == phaseLate && w.kind == Address:
		unsure, err := anyUnsure(ctx, tx, w.id)
		if w.enter(phaseStreams, settle); unsure {
			w.enter(phaseMails, 0)
		}
		return err
	default:
		w.enter(phaseStreams, settle)
	}
	return nil
}

// batch erases the next rows, and reports whether more may follow in the phase.
func (w *work) batch(ctx context.Context, tx pgx.Tx) (left bool, err error) {
	var f found
	switch {
	case w.kind == Tenant:
		return w.ofTenant(ctx, tx)
	case w.phase == phaseItems:
		return false, nil
	case w.phase == phaseHits:
		left, err = w.ofHits(ctx, tx, &f)
	case w.kind == Message:
		left, err = w.ofMessage(ctx, tx, &f)
	default:
		left, err = w.ofAddress(ctx, tx, &f)
	}
	if err != nil {
		return false, err
	}
	return left, w.erase(ctx, tx, &f)
}

// ofMessage finds the message and events that name it. What was found is gone the next time.
func (w *work) ofMessage(ctx context.Context, tx pgx.Tx, f *found) (left bool, err error) {
	list, next, err := outbox.ListLog(ctx, tx, w.tenant, outbox.LogFilter{MessageID: w.message.String()}, w.at, eventsAtOnce)
	if err != nil {
		return false, err
	}
	f.events = list
	m, err := mailbox.GetMessage(ctx, tx, w.tenant, w.message)
	if err == nil {
		f.messages, f.at = []events.MessageID{m.ID}, []time.Time{m.CreatedAt}
		var own events.Record
		if own, _, err = outbox.Find(ctx, tx, w.tenant, m.EventID); err == nil {
			f.events = append(f.events, own) // deleted once, if it is in the list too
		}
	}
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return false, err
	}
	w.at = next
	return next != pg.Place{} || len(list) == eventsAtOnce, nil
}

// ofAddress looks through the next events that were created before the request, newest first.
func (w *work) ofAddress(ctx context.Context, tx pgx.Tx, f *found) (left bool, err error) {
	filter := outbox.LogFilter{Involves: w.address, Until: w.requestedAt}
	if w.phase == phaseLate {
		filter.Since = w.requestedAt.Add(-latest)
	}
	list, next, err := outbox.SearchInvolved(ctx, tx, w.tenant, filter, w.at, eventsAtOnce)
	if err != nil {
		return false, err
	}
	for _, e := range list {
		if e.Lacks != nil {
			f.unsure = append(f.unsure, e)
		} else {
			f.add(e.Record)
		}
	}
	if len(list) == eventsAtOnce {
		last := &list[len(list)-1]
		next = pg.Place{CreatedAt: last.CreatedAt, ID: last.ID}
	}
	w.at = next
	return next != pg.Place{}, nil
}

// ofHits finds the next events of mails that have the address, with what was made of their reports.
func (w *work) ofHits(ctx context.Context, tx pgx.Tx, f *found) (left bool, err error) {
	hits, err := searched(ctx, tx, w.id, itemHit, mailsAtOnce)
	if err != nil {
		return false, err
	}
	var ids []events.ID
	for _, h := range hits {
		ids = append(ids, h.event)
		e, _, err := outbox.Find(ctx, tx, w.tenant, h.event)
		if errors.Is(err, pgx.ErrNoRows) {
			continue // its time was over
		}
		if err != nil {
			return false, err
		}
		f.add(e)
		if err := w.addReports(ctx, tx, &e, f); err != nil {
			return false, err
		}
	}
	if len(ids) > 0 {
		// Each is noted again as what was removed.
		_, err = tx.Exec(ctx, `DELETE FROM fanmail.erased_items WHERE erasure_id = $1 AND id = ANY ($2::uuid[])`, w.id, ids)
	}
	if err != nil {
		return false, fmt.Errorf("take whose mails have the address: %w", err)
	}
	return len(hits) == mailsAtOnce, nil
}

// addReports finds the events that were made of the same mail's reports.
func (w *work) addReports(ctx context.Context, tx pgx.Tx, of *events.Record, f *found) error {
	filter := outbox.LogFilter{MessageID: of.MessageID, Since: of.CreatedAt, Until: of.CreatedAt.Add(time.Microsecond)}
	for at := (pg.Place{}); ; {
		made, next, err := outbox.ListLog(ctx, tx, w.tenant, filter, at, eventsAtOnce)
		if err != nil {
			return err
		}
		for i := range made {
			if made[i].ID != of.ID && (made[i].Type == events.EmailBounced || made[i].Type == events.EmailComplained) {
				f.add(made[i])
			}
		}
		if at = next; at == (pg.Place{}) {
			return nil
		}
	}
}

// ofTenant deletes the next rows of a tenant: its events with all that belongs to them, its other messages, and then the
// rest, table by table. It reports whether there were any. Once all is gone in one pass, the next finds what was written
// meanwhile.
func (w *work) ofTenant(ctx context.Context, tx pgx.Tx) (left bool, err error) {
	if err := outbox.Close(ctx, tx, w.tenant); err != nil {
		return false, err
	}
	var f found
	list, _, err := outbox.ListLog(ctx, tx, w.tenant, outbox.LogFilter{}, pg.Place{}, tenantEvents)
	if err != nil {
		return false, err
	}
	if f.add(list...); len(list) == 0 {
		if f.messages, f.at, err = mailbox.MessagesOf(ctx, tx, w.tenant, tenantEvents); err != nil {
			return false, err
		}
	}
	if len(list)+len(f.messages) > 0 {
		return true, w.erase(ctx, tx, &f)
	}
	late := w.phase != phaseRows
	if late {
		// No row that refers to the tenant can be inserted from here on.
		if _, err := tenancy.Hold(ctx, tx, w.tenant); err != nil {
			return false, err
		}
	}
	for _, last := range []bool{false, true} {
		for _, t := range w.tables {
			if t.Late != last || last && !late {
				continue
			}
			n, err := t.Delete(ctx, tx, w.tenant, tenantRows)
			if err != nil {
				return false, err
			}
			if !t.Uncounted {
				w.count(t.Table, n)
			}
			left = left || n == tenantRows
		}
		if left {
			return true, nil
		}
	}
	return false, nil
}

// erase deletes the rows of events and messages, and notes what is to be removed later.
func (w *work) erase(ctx context.Context, tx pgx.Tx, f *found) error {
	var ids []events.ID
	var created []time.Time
	for i := range f.events {
		ids, created = append(ids, f.events[i].ID), append(created, f.events[i].CreatedAt)
	}
	forgotten, err := outbox.Forget(ctx, tx, w.tenant, f.events)
	if err != nil {
		return err
	}
	w.count("outbox", forgotten)
	if err := w.deliveries(ctx, tx, ids, created); err != nil {
		return err
	}
	own, err := agentwebhook.Erase(ctx, tx, w.tenant, f.messages, f.at)
	if err != nil {
		return err
	}
	w.count("agent_deliveries", own)
	raws, err := mailbox.Erase(ctx, tx, w.tenant, f.messages, f.at)
	if err != nil {
		return err
	}
	w.count("messages", int64(len(raws)))
	n, err := mailbox.EraseRaws(ctx, tx, raws)
	if err != nil {
		return err
	}
	w.count("raw_mails", n)
	if n, err = outbox.EraseEvents(ctx, tx, w.tenant, ids, created); err != nil {
		return err
	}
	w.count("events", n)
	if w.kind == Tenant {
		if n, err = outbox.EraseKeys(ctx, tx, ids, created); err != nil {
			return err
		}
		w.count("event_keys", n)
	}
	if err := noteUnsure(ctx, tx, w.id, f.unsure); err != nil {
		return err
	}
	return w.note(ctx, tx, ids, created, raws)
}

// deliveries deletes the deliveries of events, and what replays have noted of them.
func (w *work) deliveries(ctx context.Context, tx pgx.Tx, ids []events.ID, created []time.Time) error {
	if len(ids) == 0 {
		return nil
	}
	gone, err := subscribers.EraseOfEvents(ctx, tx, w.tenant, ids, created)
	if err != nil {
		return err
	}
	w.count("deliveries", gone.Deliveries)
	if w.phase != phaseItems { // the same ones are blanked again
		w.count("blanked_deliveries", gone.Blanked)
	}
	w.count("attempts", gone.Attempts)
	if err := replay.Blank(ctx, tx, w.tenant, ids); err != nil {
		return err
	}
	var items items
	for _, d := range gone.Pending {
		items.add(itemDelivery, d.ID, d.CreatedAt, "")
	}
	return items.insert(ctx, tx, w.id)
}

func (w *work) note(ctx context.Context, tx pgx.Tx, ids []events.ID, created []time.Time, raws []mailbox.StoredRaw) error {
	var items items
	if w.kind == Tenant {
		ids = nil // all messages of its subjects are removed
	}
	for i, id := range ids {
		items.add(itemEvent, id, created[i], "")
	}
	for _, r := range raws {
		items.add(itemRaw, r.ID, r.CreatedAt, r.Blob)
	}
	return items.insert(ctx, tx, w.id)
}

// late deletes what was written about erased events and deliveries after they were erased, a page of items at a time.
func (w *work) late(ctx context.Context, tx pgx.Tx) error {
	list, err := itemsAfter(ctx, tx, w.id, w.at.ID, itemsAtOnce)
	if err != nil {
		return err
	}
	var ids []events.ID
	var created []time.Time
	var deliveries []subscribers.Ref
	var raws []mailbox.StoredRaw
	for _, it := range list {
		switch it.kind {
		case itemEvent:
			ids, created = append(ids, it.id), append(created, it.createdAt)
		case itemDelivery:
			deliveries = append(deliveries, subscribers.Ref{ID: it.id, CreatedAt: it.createdAt})
		case itemRaw:
			raws = append(raws, mailbox.StoredRaw{ID: it.id, CreatedAt: it.createdAt, Blob: it.blob})
		}
	}
	if err := w.deliveries(ctx, tx, ids, created); err != nil {
		return err
	}
	n, err := subscribers.EraseAttempts(ctx, tx, deliveries)
	if err != nil {
		return err
	}
	w.count("attempts", n)
	if n, err = mailbox.EraseRaws(ctx, tx, raws); err != nil {
		return err
	}
	w.count("raw_mails", n)
	if len(list) < itemsAtOnce {
		w.enter(phaseDone, 0)
		return nil
	}
	w.at = pg.Place{CreatedAt: w.requestedAt, ID: list[len(list)-1].id}
	return nil
}

// The kinds of items.
const (
	itemEvent    = "event"
	itemDelivery = "delivery"
	itemRaw      = "raw"
)

// item is an erased thing of which something may be left, or come back.
type item struct {
	kind      string
	id        [16]byte
	createdAt time.Time
	blob      string // of a raw mail in the blob store
}

// items are the columns of items.
type items struct {
	kinds, blobs []string
	ids          [][16]byte
	created      []time.Time
}

func (i *items) add(kind string, id [16]byte, at time.Time, blob string) {
	i.kinds, i.ids, i.created, i.blobs = append(i.kinds, kind), append(i.ids, id), append(i.created, at), append(i.blobs, blob)
}

func (i *items) insert(ctx context.Context, tx pg.DB, of events.ErasureID) error {
	_, err := tx.Exec(ctx, `INSERT INTO fanmail.erased_items (erasure_id, id, kind, created_at, blob)
		SELECT $1, id, kind, created_at, nullif(blob, '') FROM unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::text[]) AS i (id, kind, created_at, blob)
		ON CONFLICT DO NOTHING`, of, i.ids, i.kinds, i.created, i.blobs)
	if err != nil {
		return fmt.Errorf("note what is erased: %w", err)
	}
	return nil
}

// itemsAfter returns up to limit items of an erasure that follow one, in the order of their ids.
func itemsAfter(ctx context.Context, db pg.DB, of events.ErasureID, after [16]byte, limit int) ([]item, error) {
	rows, err := db.Query(ctx, `SELECT kind, id, created_at, coalesce(blob, '') FROM fanmail.erased_items
		WHERE erasure_id = $1 AND id > $2 ORDER BY id LIMIT $3`, of, after, limit)
	if err != nil {
		return nil, fmt.Errorf("read what is erased: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (i item, err error) {
		err = row.Scan(&i.kind, &i.id, &i.createdAt, &i.blob)
		return i, err
	})
	if err != nil {
		return nil, fmt.Errorf("read what is erased: %w", err)
	}
	return list, nil
}
