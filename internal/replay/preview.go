package replay

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// The bounds of what [Store.Preview] reads. It stops at the first that it reaches.
const (
	// PreviewEvents is the most events that are read, oldest first.
	PreviewEvents = 10_000
	// PreviewPairs is the most matching pairs of an event and a webhook that are looked up.
	PreviewPairs = 20_000
	// PreviewTime is when a preview reads no further batch.
	PreviewTime = 2 * time.Second
)

// Preview is what a replay would send if it was created now. Nothing of it is stored.
type Preview struct {
	// Since and Until are those of the request; Until is at most now. In UTC.
	Since, Until time.Time
	// Events counts the events that were read.
	Events int
	// Complete reports whether all events of the window were read. If not, a replay
	// sends at least what is counted here.
	Complete bool
	// Deliveries counts the deliveries that a replay would create: the sum over Webhooks.
	Deliveries int
	// Webhooks are those with deliveries, newest first.
	Webhooks []PreviewedWebhook
}

// PreviewedWebhook is what a replay would send to one webhook.
type PreviewedWebhook struct {
	ID         events.WebhookID
	URL        string
	Deliveries int
}

// Preview counts what a replay would send. It stores nothing, and reads a bounded number
// of events whatever the window holds; see [PreviewEvents]. Its errors are those of
// [Store.Create], without the limit of unfinished replays.
func (s *Store) Preview(ctx context.Context, tenant events.TenantID, q Request) (Preview, error) {
	began := time.Now()
	if err := q.normalize(); err != nil {
		return Preview{}, err
	}
	if err := s.check(ctx, tenant, &q); err != nil {
		return Preview{}, err
	}
	p := &preview{db: s.db, tenant: tenant, request: q, counts: map[events.WebhookID]int{}}
	var err error
	if p.hooks, err = s.hooks.Takers(ctx, tenant, q.WebhookID); err != nil {
		return Preview{}, err
	}
	out := Preview{Since: q.Since.UTC()}
	var now time.Time
	if err := s.db.QueryRow(ctx, `SELECT now()`).Scan(&now); err != nil {
		return Preview{}, fmt.Errorf("read the database's clock: %w", err)
	}
	if out.Until = q.Until.UTC(); q.Until.IsZero() || q.Until.After(now) {
		out.Until = now.UTC()
	}
	if !out.Since.Before(out.Until) {
		return Preview{}, errWindow
	}
	window := &outbox.Window{TenantID: tenant, Since: out.Since, Until: out.Until, Types: []events.Type{}, Without: testEvent}
	var last *events.Record
	for out.Events < PreviewEvents && p.pairs < PreviewPairs && time.Since(began) < PreviewTime {
		list, err := outbox.ReadWindow(ctx, s.db, window, last, readBatch)
		if err != nil {
			return Preview{}, err
		}
		if err := p.count(ctx, list); err != nil {
			return Preview{}, err
		}
		out.Events += len(list)
		if out.Complete = len(list) < readBatch; out.Complete {
			break
		}
		last = &list[len(list)-1]
	}
	for _, h := range p.hooks.All() {
		if n := p.counts[h.ID]; n > 0 {
			out.Webhooks = append(out.Webhooks, PreviewedWebhook{ID: h.ID, URL: h.URL, Deliveries: n})
			out.Deliveries += n
		}
	}
	return out, nil
}

// preview is the work of one call of [Store.Preview].
type preview struct {
	db      subscribers.DB
	tenant  events.TenantID
	request Request
	hooks   *subscribers.Takers
	pairs   int // matches that were looked up
	counts  map[events.WebhookID]int
}

// count adds what a replay would send of the events.
func (p *preview) count(ctx context.Context, list []events.Record) error {
	var matches []subscribers.Replayed
	err := p.request.matches(ctx, p.db, p.hooks, inTable(list), func(_ int, m subscribers.Replayed) { matches = append(matches, m) })
	if err != nil {
		return err
	}
	p.pairs += len(matches)
	if p.request.Mode == All {
		for i := range matches {
			p.counts[matches[i].WebhookID]++
		}
		return nil
	}
	for chunk := range slices.Chunk(matches, readBatch) {
		reached, err := subscribers.Reached(ctx, p.db, p.tenant, chunk)
		if err != nil {
			return err
		}
		for i := range chunk {
			if !reached[i] {
				p.counts[chunk[i].WebhookID]++
			}
		}
	}
	return nil
}
