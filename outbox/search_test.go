package outbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/pgplan"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// searched returns all events that a filter finds, and the number of calls.
func searched(t *testing.T, pool *pgxpool.Pool, ten events.TenantID, f outbox.LogFilter, limit int) (ids []events.ID, calls int) {
	t.Helper()
	var after pg.Place
	for {
		list, end, err := outbox.ListLog(context.Background(), pool, ten, f, after, limit)
		require.NoError(t, err)
		calls++
		for _, r := range list {
			ids = append(ids, r.ID)
		}
		if len(list) == limit {
			end = pg.Place{CreatedAt: list[limit-1].CreatedAt, ID: list[limit-1].ID}
		}
		if end.CreatedAt.IsZero() {
			return ids, calls
		}
		after = end
	}
}

func TestASearchFindsEveryStoredFormOfAMail(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	ten, other := tenant(t, pool, false), tenant(t, pool, false)
	message := events.NewRandom[events.MessageKind]().String()
	mail := events.Event{
		TenantID: ten, Type: events.EmailReceived, AgentID: "robot@corp.example", MessageID: message, IdempotencyKey: "mail:" + message,
		Data: json.RawMessage(`{"message_id_header":"1@shop.example","from":[{"name":"Ann","address":"ann@shop.example"}],"to":[],"subject":"Order 1"}`),
	}
	again := mail // another agent's copy
	again.AgentID, again.MessageID = "second@corp.example", events.NewRandom[events.MessageKind]().String()
	again.IdempotencyKey = "mail:" + again.MessageID
	label := events.Event{TenantID: ten, Type: events.EmailSent, MessageID: message, Data: json.RawMessage(`{"from":"robot@corp.example","to":"ann@shop.example","subject":"Re: order 1"}`)}
	own := events.Event{TenantID: ten, Type: events.EmailReceived, MessageID: "their id 7", Data: json.RawMessage(`{ "text": "x", "message_id_header": "<1@shop.example>", "from": "Ann <ann@shop.example>", "subject": "order 1"}`)}
	theirs := mail
	theirs.TenantID = other
	done := insert(t, pool, mail, again, label, own, theirs)
	imported := outbox.Imported{
		Envelope: []byte(`{"event": "email.received", "data": {"from": "ann@shop.example", "subject": "ORDER 1", "raw_message": ""}}`), MessageIDHeader: "1@shop.example",
		Record: events.Record{ID: events.NewID(), TenantID: ten, Type: events.EmailReceived, CreatedAt: time.Now().Add(-20 * time.Hour), MessageID: events.NewRandom[events.MessageKind]().String(), AgentID: "robot@corp.example"},
	}
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := outbox.Import(t.Context(), tx, []outbox.Imported{imported})
		return err
	}))
	all := map[string]events.ID{"mail": done[0].ID, "again": done[1].ID, "label": done[2].ID, "own": done[3].ID, "imported": imported.ID}
	for _, c := range []struct {
		f    outbox.LogFilter
		want []string
	}{
		{outbox.LogFilter{MessageID: message}, []string{"mail", "label"}},
		{outbox.LogFilter{MessageID: message, Type: events.EmailSent}, []string{"label"}},
		{outbox.LogFilter{MessageID: message, MessageIDHeader: "1@shop.example"}, []string{"mail"}},
		{outbox.LogFilter{MessageID: message, MessageIDHeader: "2@shop.example"}, nil},
		{outbox.LogFilter{MessageID: again.MessageID}, []string{"again"}},
		{outbox.LogFilter{MessageID: "their id 7"}, []string{"own"}},
		{outbox.LogFilter{MessageID: imported.MessageID}, []string{"imported"}},
		{outbox.LogFilter{MessageID: "none"}, nil},
		{outbox.LogFilter{MessageIDHeader: "1@shop.example"}, []string{"mail", "again", "own", "imported"}},
		{outbox.LogFilter{MessageIDHeader: " <1@shop.example> "}, []string{"mail", "again", "own", "imported"}},
		{outbox.LogFilter{MessageIDHeader: "1@shop.example", AgentID: "robot@corp.example"}, []string{"mail", "imported"}},
		{outbox.LogFilter{MessageIDHeader: "1@shop.example", Until: time.Now().Add(-19 * time.Hour)}, []string{"imported"}},
		{outbox.LogFilter{MessageIDHeader: "1@shop.example", Since: time.Now().Add(-19 * time.Hour)}, []string{"mail", "again", "own"}},
		{outbox.LogFilter{MessageIDHeader: "1@shop.example", Subject: "order"}, []string{"mail", "again", "own", "imported"}},
		{outbox.LogFilter{MessageIDHeader: "1@shop.example", To: "second@corp.example"}, []string{"again"}},
		{outbox.LogFilter{Subject: "Order 1"}, []string{"mail", "again", "label", "own", "imported"}},
		{outbox.LogFilter{From: "ann@shop.example"}, []string{"mail", "again", "own", "imported"}},
		{outbox.LogFilter{From: "@corp.example", Type: events.EmailSent}, []string{"label"}},
		{outbox.LogFilter{To: "robot@corp.example"}, []string{"mail", "imported"}},
		{outbox.LogFilter{Subject: "order", AgentID: "second@corp.example"}, []string{"again"}},
		{outbox.LogFilter{Subject: "other"}, nil},
	} {
		for _, limit := range []int{1, 2, 50} {
			found, _ := searched(t, pool, ten, c.f, limit)
			var want []events.ID
			for _, name := range c.want {
				want = append(want, all[name])
			}
			require.ElementsMatch(t, want, found, "%+v, %d a page", c.f, limit)
		}
	}
	found, _ := searched(t, pool, other, outbox.LogFilter{MessageIDHeader: "1@shop.example"}, 50)
	require.Equal(t, []events.ID{done[4].ID}, found, "the other tenant finds its own")
	for _, f := range []outbox.LogFilter{{MessageID: "\x00"}, {MessageIDHeader: "\xff"}, {From: "\x00"}, {To: "\x00"}, {Subject: "\x00"}} {
		_, _, err := outbox.ListLog(t.Context(), pool, ten, f, pg.Place{}, 1)
		var wrong *events.FieldError
		require.ErrorAs(t, err, &wrong)
	}
}

// bigLog makes many events of a tenant, of today and of a month, besides those of another. Event n has the subject
// "Number n.", and every 100th a message id and a Message-ID of its own.
func bigLog(t *testing.T, rows int) (*pgplan.Recorder, events.TenantID) {
	t.Helper()
	ctx := context.Background()
	url := pgtest.URL(t)
	pool := pgtest.Open(t, url)
	ten := tenant(t, pool, false)
	_, err := pool.Exec(ctx, `SELECT fanmail.make_partitions((now() AT TIME ZONE 'UTC')::date - 40, 45)`)
	require.NoError(t, err)
	for _, id := range []events.TenantID{ten, tenant(t, pool, false)} {
		_, err = pool.Exec(ctx, `INSERT INTO fanmail.events (id, created_at, tenant_id, type, seq, message_id, message_key, header_key, envelope)
			SELECT gen_random_uuid(), at, $1, 'email.received', i, 'm' || i, fanmail.search_key(at, 1 + i % 1000), fanmail.search_key(at, 1 + i % 1000),
				convert_to('{"data":{"text":"' || repeat('x', 500) || '","subject":"Number ' || i || '."}}', 'UTF8')
			FROM generate_series(1, $2::int) AS i, LATERAL (SELECT now() - make_interval(secs => (i % 4) * i * 60.0 * 35 * 24 * 20 / $2)) AS a (at)`, id, rows)
		require.NoError(t, err)
	}
	_, err = pool.Exec(ctx, `VACUUM ANALYZE fanmail.events`)
	require.NoError(t, err)
	return pgplan.Open(t, url), ten
}

func TestASearchReadsABoundedPieceOfTheLog(t *testing.T) {
	t.Parallel()
	const rows = 20_000
	log, ten := bigLog(t, rows)
	searches := map[string]outbox.LogFilter{
		"AS sized": {Subject: "number 2."}, "message_key = h.key": {MessageID: "m7"}, "header_key = h.key": {MessageIDHeader: "none@x.example"},
	}
	for statement, f := range searches {
		log.Reset()
		found, calls := searched(t, log.Pool, ten, f, 20)
		b := pgplan.Bound{Indexes: []string{"events_message"}, Rows: 3000, Sorted: 100, Blocks: 8 * outbox.SearchHours}
		switch {
		case f.Subject != "":
			require.Len(t, found, 1)
			require.GreaterOrEqual(t, calls, rows/outbox.SearchScan)
			b = pgplan.Bound{Indexes: []string{"events_tenant"}, Rows: outbox.SearchScan, Blocks: 3 * outbox.SearchScan}
		case f.MessageIDHeader != "":
			require.Empty(t, found)
			require.Greater(t, calls, 1, "a month and a few days are more than one call reads")
			b.Indexes = []string{"events_header"}
		}
		log.Of(t, statement).Within(t, b)
		if f.Subject == "" {
			log.Of(t, "ORDER BY created_at, id LIMIT 1").Within(t, pgplan.Bound{Indexes: []string{"events_tenant"}, Rows: 10, Blocks: 300})
		}
	}
}

func TestASearchStopsAfterSomeMegabytes(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	ten := tenant(t, pool, false)
	large := json.RawMessage(`{"text":"` + strings.Repeat("x", 250_000) + `","subject":"large"}`)
	const n = outbox.SearchBytes/250_000 + 5
	for i := range n {
		insert(t, pool, events.Event{TenantID: ten, Type: events.EmailSent, MessageID: fmt.Sprint(i), Data: large})
	}
	list, end, err := outbox.ListLog(t.Context(), pool, ten, outbox.LogFilter{Subject: "none"}, pg.Place{}, 10)
	require.NoError(t, err)
	require.Empty(t, list)
	require.NotZero(t, end, "the rest is for the next call")
	found, calls := searched(t, pool, ten, outbox.LogFilter{Subject: "LARGE"}, 100)
	require.Len(t, found, n)
	require.Equal(t, 2, calls)
	found, calls = searched(t, pool, ten, outbox.LogFilter{Subject: "large", Type: events.EmailReceived}, 100)
	require.Empty(t, found)
	require.Equal(t, 1, calls, "events of other types are not read")
}

// An event has up to 100 KB of labels.
func TestAListOfEventsEndsAfterSomeBytes(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	ten := tenant(t, pool, false)
	var labels []string
	for i := range 100 {
		labels = append(labels, fmt.Sprint(i)+strings.Repeat("x", 900))
	}
	const n = 35
	for range n {
		insert(t, pool, events.Event{TenantID: ten, Type: events.EmailSent, MessageID: "same", Labels: labels, Data: json.RawMessage(`{"subject":"large"}`)})
	}
	for _, f := range []outbox.LogFilter{{}, {Type: events.EmailSent}, {MessageID: "same"}, {MessageID: "same", Subject: "large"}, {Subject: "large"}} {
		found, calls := searched(t, pool, ten, f, 100)
		slices.SortFunc(found, func(a, b events.ID) int { return bytes.Compare(a[:], b[:]) })
		require.Len(t, slices.Compact(found), n, "%+v", f)
		if f.Subject == "" { // a search is bounded by the envelopes that it compares
			require.GreaterOrEqual(t, calls, 3, "%+v", f)
		}
	}
}

func TestTheHeadsOfEnvelopesAreReadByKeyAndBounded(t *testing.T) {
	t.Parallel()
	log, ten := bigLog(t, 5000)
	list, _, err := outbox.ListLog(t.Context(), log.Pool, ten, outbox.LogFilter{}, pg.Place{}, 50)
	require.NoError(t, err)
	var refs outbox.EventRefs
	for _, r := range list {
		refs.Add(r.ID, r.CreatedAt)
	}
	log.Reset()
	heads, err := outbox.Heads(t.Context(), log.Pool, refs)
	require.NoError(t, err)
	require.Len(t, heads, 50)
	log.Of(t, "AS head").Within(t, pgplan.Bound{Indexes: []string{"events_pkey"}, Rows: 60, Blocks: 400})
	done := insert(t, log.Pool, events.Event{TenantID: ten, Type: events.EmailSent, Data: json.RawMessage(`{"text":"` + strings.Repeat("x", 100_000) + `"}`)})
	refs = outbox.EventRefs{}
	refs.Add(done[0].ID, done[0].CreatedAt)
	heads, err = outbox.Heads(t.Context(), log.Pool, refs)
	require.NoError(t, err)
	require.Len(t, heads[done[0].ID], outbox.HeadBytes)
}

func TestAnExportReadsItsPageAlone(t *testing.T) {
	t.Parallel()
	log, ten := bigLog(t, 20_000)
	now := time.Now()
	since := now.Add(-60 * 24 * time.Hour)
	page, err := outbox.ReadLogged(t.Context(), log.Pool, ten, since, now, nil)
	require.NoError(t, err)
	require.Len(t, page, outbox.LoggedRows)
	middle := events.Record{CreatedAt: now.Add(-24 * time.Hour)}
	log.Reset()
	page, err = outbox.ReadLogged(t.Context(), log.Pool, ten, since, now, &middle)
	require.NoError(t, err)
	require.Len(t, page, outbox.LoggedRows)
	log.Of(t, "AS sized").Within(t, pgplan.Bound{Indexes: []string{"events_tenant"}, Rows: outbox.LoggedRows, Blocks: 4 * outbox.LoggedRows})
	list := make([]outbox.Imported, len(page))
	for i, e := range page {
		list[i] = outbox.Imported{Record: e.Record, Envelope: e.Envelope}
	}
	list[7].Envelope = []byte("{}")
	log.Reset()
	held, err := outbox.Held(t.Context(), log.Pool, list)
	require.NoError(t, err)
	require.Len(t, held, len(list))
	for i := range list {
		require.Equal(t, i != 7, held[list[i].ID], "%d", i)
	}
	log.Of(t, "sha256(envelope)").Within(t, pgplan.Bound{Indexes: []string{"events_pkey"}, Rows: len(list), Blocks: 45 * 4 * len(list)})
}
