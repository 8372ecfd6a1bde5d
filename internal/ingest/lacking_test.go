package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/mailsearch"
)

// TestAnEventSaysWhereAddressesWereCut has mails with more addresses than an event has. An erasure by address searches
// the raw mail where the event says so.
func TestAnEventSaysWhereAddressesWereCut(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	addressees := func(n int) string {
		return strings.TrimSuffix(strings.Repeat("somebody@many.example,\r\n ", n), ",\r\n ") + "\r\n"
	}
	var failed strings.Builder
	for i := range 101 {
		fmt.Fprintf(&failed, "Final-Recipient: rfc822; person-%d@many.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n", i)
	}
	for i, of := range []struct{ field, header, body string }{
		{"to", "To: " + addressees(1001), ""},
		{"cc", "Cc: " + addressees(600) + "Cc: " + addressees(600), ""},
		{"reply_to", "Reply-To: " + addressees(1001), ""},
		{"to", "To: " + strings.Repeat("\r\n "+strings.Repeat("x", 900), 80) + "@x.example, a@b.example\r\n", ""},
		{"resent", "Resent-From: a@b.example\r\nResent-To: " + addressees(11), ""},
		{"headers", "X-Original-To: " + addressees(500), ""},
		{"headers", strings.Repeat("X-A: b\r\n", 1001) + "Delivered-To: a@b.example\r\n", ""},
		{"headers", strings.Repeat("X-A: "+strings.Repeat("b", 900)+"\r\n", 1200), ""},
		{"bounce", "Content-Type: multipart/report; boundary=r\r\n", "--r\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; a.example\r\n\r\n" + failed.String() + "\r\n--r--\r\n"},
		{"bounce", "X-Failed-Recipients: " + addressees(101), "Sorry.\r\n"},
	} {
		from := "ann@example.org"
		if of.field == "bounce" {
			from = "mailer-daemon@example.org"
		}
		deliverTo(t, s, "a@example.com", fmt.Sprintf("From: %s\r\nMessage-ID: <%d@many.example>\r\n%s\r\n%s", from, i, of.header, of.body))
		var envelope []byte
		require.NoError(t, pool.QueryRow(t.Context(), `SELECT envelope FROM fanmail.events WHERE type = 'email.received' ORDER BY seq DESC LIMIT 1`).Scan(&envelope))
		require.Contains(t, mailsearch.Lacking(envelope), of.field, "mail %d", i)
	}
	deliverTo(t, s, "a@example.com", "From: ann@example.org\r\nTo: "+addressees(2)+"Subject: "+strings.Repeat("s", 5000)+"\r\n\r\nHello.\r\n")
	all := mails(t, pool)
	require.Contains(t, all[len(all)-1].Data.Truncated, "subject")
	require.NotContains(t, all[len(all)-1].Data.Truncated, "to")
}
