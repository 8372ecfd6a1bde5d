package outbox

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailsearch"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Bounds of one call of [ListLog] that searches.
const (
	// SearchScan is how many events it reads for a sender, a recipient or a subject.
	SearchScan = 2500
	// SearchBytes is how many bytes of envelopes it reads; the envelope that exceeds it is the last one.
	SearchBytes = 4 << 20
	// SearchHours is how many hours of events it looks through for an id.
	SearchHours = 32 * 24
	// searchFirst is the size of the first batch: most searches are for a recent mail.
	searchFirst = 100
)

// ListLog returns up to limit events of the tenant after a place, newest first.
// With a filter on type or agent it looks through [LogScan] events at most, with one on
// sender, recipient or subject through [SearchScan], and with an id through those of
// [SearchHours]. It also stops after about a MiB of events. It then also returns the place to
// continue from; that is zero if limit was reached or nothing is left. An [*events.FieldError] is for a type that does not exist, and
// for text that Postgres does not store.
func ListLog(ctx context.Context, db pg.DB, tenant events.TenantID, f LogFilter, after pg.Place, limit int) ([]events.Record, pg.Place, error) {
	if err := f.check(); err != nil {
		return nil, pg.Place{}, err
	}
	switch {
	case f.MessageID != "" || f.MessageIDHeader != "":
		return searchIDs(ctx, db, tenant, &f, after, limit)
	case !f.matcher().IsZero():
		list, end, err := searchText(ctx, db, tenant, &f, after, limit)
		return fitting(list), end, err
	}
	return listByTime(ctx, db, tenant, &f, after, limit)
}

// Involved is an event that involves an address, or of which the envelope alone can't tell that.
type Involved struct {
	events.Record
	// Lacks names the members of the data from which addresses were cut; nil if the envelope names the address.
	Lacks []string
}

// SearchInvolved returns up to limit events of the tenant after a place, newest first, that involve f.Involves or may do
// so. Its bounds and the place are those of [ListLog].
func SearchInvolved(ctx context.Context, db pg.DB, tenant events.TenantID, f LogFilter, after pg.Place, limit int) ([]Involved, pg.Place, error) {
	rows, end, err := searchText(ctx, db, tenant, &f, after, limit)
	list := make([]Involved, len(rows))
	for i := range rows {
		list[i] = Involved{rows[i].Record, rows[i].lacks}
	}
	return list, end, err
}

func fitting(rows []found) (list []events.Record) {
	for i := range rows {
		if rows[i].fits {
			list = append(list, rows[i].Record)
		}
	}
	return list
}

// ofMail are the types of events that are made of a received mail.
var ofMail = map[events.Type]bool{events.EmailReceived: true, events.EmailBounced: true, events.EmailComplained: true}

// matcher returns what compares envelopes with the filter.
func (f *LogFilter) matcher() mailsearch.Matcher {
	return mailsearch.New(mailsearch.Terms{From: f.From, To: f.To, Subject: f.Subject, Involves: f.Involves})
}

// found is an event that a search has read.
type found struct {
	events.Record
	fits  bool     // it is what the filter asks for
	lacks []string // if it does not fit: the members from which addresses were cut; see [SearchInvolved]
}

// readFound reads events and compares them with the filter. No envelope is kept: they are megabytes.
func readFound(rows pgx.Rows, f *LogFilter) (list []found, size int, err error) {
	m := f.matcher()
	var r found
	var envelope pgtype.DriverBytes // NULL: not to be compared
	_, err = pgx.ForEachRow(rows, append(recordFields(&r.Record), &envelope), func() error {
		r.CreatedAt = r.CreatedAt.UTC()
		r.fits = (f.Type == "" || r.Type == f.Type) && (f.AgentID == "" || r.AgentID == f.AgentID) && m.Match(r.AgentID, envelope)
		if f.Involves != "" && !r.fits && ofMail[r.Type] {
			r.lacks = mailsearch.Lacking(envelope)
		}
		if !r.fits && r.lacks == nil {
			r.Labels = nil // they are up to 100 KB, and the event is a place alone
		}
		list, size = append(list, r), size+len(envelope)
		r = found{}
		return nil
	})
	return list, size, err
}

// The rows of a batch, up to the one whose envelope exceeds the bytes that are left.
const searchBatch = `
SELECT ` + recordColumns + `, CASE WHEN wanted THEN envelope END FROM (
	SELECT *, sum(size) OVER (ORDER BY created_at DESC, id DESC ROWS UNBOUNDED PRECEDING) - size AS before FROM (
		SELECT *, CASE WHEN wanted THEN octet_length(envelope) ELSE 0 END AS size FROM (
			SELECT *, ($7 = '' OR type = $7) AND ($8 = '' OR agent_id = $8) AS wanted` + logHistory + ` LIMIT $6
		) AS seen
	) AS sized
) AS page WHERE before < $9 ORDER BY created_at DESC, id DESC`

// searchText reads the tenant's events, newest first, and returns those whose envelopes match or lack addresses.
func searchText(ctx context.Context, db pg.DB, tenant events.TenantID, f *LogFilter, after pg.Place, limit int) (list []found, end pg.Place, err error) {
	since, until := pg.Range(f.Since, f.Until)
	scan, size, batch := SearchScan, SearchBytes, searchFirst
	for scan > 0 && size > 0 {
		at, id := after.Bound()
		n := min(batch, scan)
		rows, err := db.Query(ctx, searchBatch, tenant, at, id, since, until, n, string(f.Type), f.AgentID, size)
		if err != nil {
			return nil, pg.Place{}, fmt.Errorf("search events: %w", err)
		}
		read, took, err := readFound(rows, f)
		if err != nil {
			return nil, pg.Place{}, fmt.Errorf("search events: %w", err)
		}
		for i := range read {
			after = placeOf(&read[i].Record)
			if read[i].fits || read[i].lacks != nil {
				if list = append(list, read[i]); len(list) == limit {
					return list, pg.Place{}, nil
				}
			}
		}
		size -= took
		if len(read) < n && size > 0 {
			return list, pg.Place{}, nil
		}
		scan, batch = scan-len(read), batch*4
	}
	return list, after, nil
}

// The events with a search key in each of some hours, newest first. A header's hash of 0, and no message, select all.
// A comparison of the tenant that no index answers keeps Postgres from reading all that the tenant has of an hour.
const eventsByKey = `
SELECT e.* FROM unnest($1::bigint[], $2::timestamptz[], $3::timestamptz[]) WITH ORDINALITY AS h (key, since, until, n)
CROSS JOIN LATERAL (
	SELECT ` + recordColumns + `, CASE WHEN $10 THEN envelope END AS envelope FROM fanmail.events
	WHERE {key} = h.key AND tenant_id IS NOT DISTINCT FROM $4 AND created_at >= h.since AND created_at < h.until AND (created_at, id) < ($5, $6)
		AND ($8::bigint = 0 OR header_key & 1099511627775 = $8) AND ($9 = '' OR message_id = $9)
	ORDER BY created_at DESC, id DESC LIMIT $7
) AS e ORDER BY h.n, e.created_at DESC, e.id DESC LIMIT $7`

var (
	eventsByMessage = strings.Replace(eventsByKey, "{key}", "message_key", 1)
	eventsByHeader  = strings.Replace(eventsByKey, "{key}", "header_key", 1)
)

// The event of a received mail, whose id is derived from the message's.
const eventOfMail = `
SELECT ` + recordColumns + `, CASE WHEN $8 THEN envelope END FROM fanmail.events
WHERE id = $1 AND tenant_id = $2 AND created_at >= $3 AND created_at < $4 AND (created_at, id) < ($5, $6) AND ($7::bigint = 0 OR header_key & 1099511627775 = $7)`

// searchIDs finds events by the id of a message or by a Message-ID.
func searchIDs(ctx context.Context, db pg.DB, tenant events.TenantID, f *LogFilter, after pg.Place, limit int) ([]events.Record, pg.Place, error) {
	since, until, err := searchWindow(ctx, db, tenant, f, after)
	if err != nil || !until.After(since) {
		return nil, pg.Place{}, err
	}
	rows, passed, err := readByKey(ctx, db, tenant, f, after, since, until, limit)
	if err != nil {
		return nil, pg.Place{}, fmt.Errorf("search events: %w", err)
	}
	return fitting(rows), passed, nil
}

// searchWindow narrows the filter's time range, and the place from which to go on, to the tenant's events.
func searchWindow(ctx context.Context, db pg.DB, tenant events.TenantID, f *LogFilter, after pg.Place) (since, until time.Time, err error) {
	var oldest, newest *time.Time
	err = db.QueryRow(ctx, `SELECT
		(SELECT created_at FROM fanmail.events WHERE tenant_id = $1 ORDER BY created_at, id LIMIT 1),
		(SELECT created_at FROM fanmail.events WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1)`, tenant).Scan(&oldest, &newest)
	if err != nil {
		return since, until, fmt.Errorf("search events: %w", err)
	}
	if oldest == nil || newest == nil {
		return since, until, nil
	}
	since, until = *oldest, newest.Add(time.Microsecond)
	if f.Since.After(since) {
		since = f.Since
	}
	for _, end := range []time.Time{f.Until, after.CreatedAt.Add(time.Microsecond)} {
		if end.Year() > 1 && end.Before(until) {
			until = end
		}
	}
	return since, until, nil
}

// readByKey returns up to limit events with the filter's ids, newest first. passed is the place to go on from; zero if
// there is nothing left.
func readByKey(ctx context.Context, db pg.DB, tenant events.TenantID, f *LogFilter, after pg.Place, since, until time.Time, limit int) (list []found, passed pg.Place, err error) {
	header, compared := headerKeyOf(tenant, f.MessageIDHeader), !f.matcher().IsZero()
	statement, hash := eventsByHeader, header
	if f.MessageID != "" {
		statement, hash = eventsByMessage, messageKeyOf(tenant, f.MessageID)
	}
	at, id := after.Bound()
	keys, from, to := keysAt(hash, since, until, SearchHours)
	rows, err := db.Query(ctx, statement, keys, from, to, tenant, at, id, limit, header, f.MessageID, compared)
	if err != nil {
		return nil, pg.Place{}, err
	}
	budget := pg.NewBudget(pg.PageBytes)
	if compared {
		budget = pg.NewBudget(SearchBytes) // the envelopes count
	}
	if list, _, err = readFound(budget.Of(rows), f); err != nil {
		return nil, pg.Place{}, err
	}
	if oldest := from[len(from)-1]; oldest.After(since) {
		passed.CreatedAt = oldest
	}
	if len(list) == limit || budget.Cut() {
		passed = placeOf(&list[len(list)-1].Record)
	}
	if f.MessageID == "" {
		return list, passed, nil
	}
	derived := events.DeriveID(tenant, receivedKey+f.MessageID, events.EmailReceived)
	if rows, err = db.Query(ctx, eventOfMail, derived, tenant, since, until, at, id, header, compared); err != nil {
		return nil, pg.Place{}, err
	}
	own, _, err := readFound(rows, f)
	if err != nil {
		return nil, pg.Place{}, err
	}
	for _, r := range own {
		// One that is older than the page's end is part of a later page.
		if passed.CreatedAt.IsZero() || newest(placeOf(&r.Record), passed) < 0 {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b found) int { return newest(placeOf(&a.Record), placeOf(&b.Record)) })
	if len(list) > limit {
		list = list[:limit]
		passed = placeOf(&list[limit-1].Record)
	}
	return list, passed, nil
}

// newest orders places as the lists do.
func newest(a, b pg.Place) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(b.ID[:], a.ID[:]))
}
