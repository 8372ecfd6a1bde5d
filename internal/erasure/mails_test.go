package erasure_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
)

// addressees is a field with many addresses and the given one at its end.
func addressees(name, last string) string {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, "person-%d@many.example,\r\n ", i)
	}
	return name + ": " + b.String() + last + "\r\n"
}

// report is a bounce of many recipients, and of the given one.
func report(last string) (header, body string) {
	var b strings.Builder
	for i := range 150 {
		fmt.Fprintf(&b, "Final-Recipient: rfc822; person-%d@many.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n", i)
	}
	return "Content-Type: multipart/report; report-type=delivery-status; boundary=r\r\n",
		"--r\r\nContent-Type: text/plain\r\n\r\nSorry.\r\n--r\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example\r\n\r\n" + b.String() +
			"Final-Recipient: rfc822; " + last + "\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--r--\r\n"
}

// TestAnAddressThatWasCutFromAnEventIsFoundInItsMail has events that do not name the address, and say that they lack some.
func TestAnAddressThatWasCutFromAnEventIsFoundInItsMail(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant, other := r.tenant(), r.tenant()
	bounced := func(last string) letter {
		header, body := report(last)
		return letter{header: header, body: body, lacks: []string{"bounce"}, bounced: true}
	}
	number := 0
	add := func(l letter, of ...events.TenantID) events.MessageID {
		number++
		l.from, l.to = carl, fmt.Sprintf("robot-%d@agents.example", number)
		_, messages := r.mail(l, of...)
		return messages[0]
	}
	for _, l := range []letter{
		{header: addressees("To", ann), lacks: []string{"text", "to"}},
		{header: addressees("To", ann), lacks: []string{"to", "headers"}, large: true},
		{header: addressees("Cc", `Ann < "ann" @ SHOP.example (home)>`), lacks: []string{"cc"}},
		{header: addressees("X-Filler", "x") + "Delivered-To: Ann@shop.example\r\n", lacks: []string{"headers"}},
		{header: "Received: from a.example by b.example with ESMTP id 1\r\n for <ann@shop.example>; Thu, 1 Jan 2026 00:00:00 +0000\r\n", lacks: []string{"headers"}},
		{header: addressees("Resent-To", ann), lacks: []string{"resent"}},
		{header: "Bcc: " + ann + "\r\n", lacks: []string{"envelope"}},
		{header: strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 800) + "Reply-To: " + ann + "\r\n", lacks: []string{"headers"}, large: true},
		bounced(ann),
	} {
		add(l, tenant)
		add(l, other)
	}
	hits := number / 2
	add(letter{header: addressees("To", ann), lacks: []string{"to"}, bounced: true}, tenant, other)
	for _, l := range []letter{
		{header: addressees("To", "x"+ann), lacks: []string{"to"}},
		{header: addressees("To", "x@y.example") + "X-Other: " + ann + "\r\n", body: "To: " + ann + "\r\n", lacks: []string{"to", "headers"}, large: true},
		{header: "X-Other: " + ann + "\r\n", lacks: []string{"text", "subject", "attachments"}},
		bounced("xann@shop.example"),
	} {
		add(l, tenant)
	}
	gone := []events.MessageID{
		add(letter{header: addressees("To", ann), lacks: []string{"to"}}, tenant),
		add(letter{header: addressees("To", ann), lacks: []string{"to"}, large: true}, tenant),
		add(letter{header: addressees("To", ann), lacks: []string{"to"}}, tenant),
	}
	r.exec(`DELETE FROM fanmail.message_raws WHERE id = (SELECT raw_id FROM fanmail.messages WHERE id = $1)`, gone[0])
	r.removeBlob(gone[1])
	r.exec(`DELETE FROM fanmail.messages WHERE id = $1`, gone[2])
	notSearched := len(gone)
	add(letter{lacks: []string{"envelope"}}, tenant)
	notSearched++
	add(letter{header: strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 1200) + "Reply-To: " + ann + "\r\n", lacks: []string{"headers"}}, tenant)
	notSearched++
	stays := r.all(other)

	e := r.ofAddress(tenant, ann)
	for range notSearched {
		add(letter{header: addressees("To", ann), lacks: []string{"to"}}, tenant) // later than the request
	}
	done := r.end(e)
	require.EqualValues(t, notSearched, done.NotSearched)
	require.EqualValues(t, hits+1+2, done.Removed["events"], "with what was made of two of them")
	require.EqualValues(t, hits+1, done.Removed["messages"])
	require.EqualValues(t, hits, done.Removed["raw_mails"], "one is another tenant's too")
	require.EqualValues(t, 2, done.Removed["blobs"])
	require.Equal(t, stays, r.all(other))
	require.Equal(t, 5+len(gone)+2+notSearched, r.count(`SELECT count(*) FROM fanmail.events WHERE tenant_id = $1`, tenant))
}

// removeBlob deletes the blob of a message's mail, as somebody in the store may.
func (r *rig) removeBlob(id events.MessageID) {
	r.t.Helper()
	var key string
	require.NoError(r.t, r.pool.QueryRow(r.t.Context(), `SELECT r.blob FROM fanmail.messages AS m JOIN fanmail.message_raws AS r ON r.id = m.raw_id WHERE m.id = $1`, id).Scan(&key))
	require.NoError(r.t, r.store.Delete(r.t.Context(), key))
}

// TestAMailInTheBlobStoreIsSearchedWhereThatIs has a process without a blob store, which must not say that it has searched.
func TestAMailInTheBlobStoreIsSearchedWhereThatIs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	tenant := r.tenant()
	r.mail(letter{from: carl, to: "robot@agents.example", header: addressees("To", ann), lacks: []string{"to"}, large: true}, tenant)
	e := r.ofAddress(tenant, ann)
	blind := erasure.New(r.pool, erasure.Options{Rows: true, Outside: true, JS: r.js, Settle: time.Nanosecond})
	var err error
	require.Eventually(t, func() bool { err = blind.Round(t.Context()); return err != nil }, patience, time.Millisecond)
	require.ErrorIs(t, err, mailbox.ErrNoBlobs)
	require.NotContains(t, err.Error(), ann)
	r.exec(`UPDATE fanmail.erasures SET due_at = now()`)
	done := r.end(e)
	require.Zero(t, done.NotSearched)
	require.Equal(t, map[string]int64{"events": 1, "outbox": 1, "messages": 1, "raw_mails": 1, "agent_deliveries": 1, "blobs": 1}, done.Removed)
}

// TestMailThatIsAcceptedMeanwhileIsFound commits a mail whose transaction began before the request, after the first pass.
func TestMailThatIsAcceptedMeanwhileIsFound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	ctx, tenant := t.Context(), r.tenant()
	tx, err := r.pool.Begin(ctx)
	require.NoError(t, err)
	for _, data := range []string{`{"from":"` + ann + `"}`, `{"from":"` + carl + `"}`} {
		_, err = outbox.Insert(ctx, tx, events.Event{TenantID: tenant, Type: "email.sent", Data: []byte(data)})
		require.NoError(t, err)
	}
	e := r.ofAddress(tenant, ann)
	rows := erasure.New(r.pool, erasure.Options{Rows: true, Settle: time.Hour})
	require.NoError(t, rows.Round(ctx))
	require.NoError(t, tx.Commit(ctx))
	require.NoError(t, pgx.BeginFunc(ctx, r.pool, func(tx pgx.Tx) error {
		_, err := outbox.Insert(ctx, tx, events.Event{TenantID: tenant, Type: "email.sent", Data: []byte(`{"from":"` + ann + `"}`)})
		return err
	}))
	r.exec(`UPDATE fanmail.erasures SET due_at = now()`)
	require.EqualValues(t, 1, r.end(e).Removed["events"], "the one that came after the request stays")
	require.Equal(t, 2, r.count(`SELECT count(*) FROM fanmail.events`))
}
