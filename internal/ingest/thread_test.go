package ingest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/ingest"
)

// A thread is one conversation, whoever answers, and what it names is told.
func TestAnAnswerTellsItsThreadAndItsOwnWords(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	send := func(raw string) {
		w := hello(t, s)
		w.begin("a@example.com")
		w.data(250, raw)
	}
	send(plain)
	send("From: ben@example.org\r\nMessage-ID: <2@example.org>\r\nIn-Reply-To: <1@example.org>\r\n\r\n" +
		"Hi!\r\n\r\nOn Mon, 2 Jan 2026 at 15:04, Ann <ann@example.org> wrote:\r\n> Hello\r\n")
	send("From: ann@example.org\r\nMessage-ID: <3@example.org>\r\nIn-Reply-To: <2@example.org>\r\nReferences: <1@example.org>\r\n\t<2@example.org>\r\n\r\nBye\r\n")
	send("From: ann@example.org\r\nMessage-ID: <4@example.org>\r\nReferences: <1@example.org> " + strings.Repeat("<x@example.org> ", 200) + "<last@example.org>\r\n\r\nBye\r\n")
	got := mails(t, pool)
	require.Len(t, got, 4)
	for _, m := range got[1:] {
		require.Equal(t, got[0].Data.ConversationID, m.Data.ConversationID)
	}
	require.Equal(t, []string{}, got[0].Data.References)
	require.Empty(t, got[0].Data.InReplyTo)
	require.Nil(t, got[0].Data.ReplyText)
	require.Equal(t, "1@example.org", got[1].Data.InReplyTo)
	require.NotNil(t, got[1].Data.ReplyText)
	require.Equal(t, "Hi!", *got[1].Data.ReplyText)
	require.Contains(t, got[1].Data.Text, "> Hello")
	require.Equal(t, []string{"1@example.org", "2@example.org"}, got[2].Data.References)
	last := got[3].Data
	require.Len(t, last.References, 100)
	require.Equal(t, "1@example.org", last.References[0], "the root stays")
	require.Equal(t, "last@example.org", last.References[99])
	require.Equal(t, []string{"references"}, last.Truncated)
}

// A report is a mail for its agent, and an event of its own about the mail that came back.
func TestABounceOrComplaintIsAnEventOfItsOwn(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	send := func(raw string) {
		w.begin("a@example.com")
		w.bdat(250, []byte(raw))
	}
	reports := func(typ string) (list []string) {
		rows, err := pool.Query(t.Context(), `SELECT message_id || ' ' || conversation_id || ' ' || convert_from(envelope, 'UTF8') FROM fanmail.events WHERE type = $1`, typ)
		require.NoError(t, err)
		list, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return list
	}
	bounce, err := os.ReadFile("testdata/mails/bounce.eml")
	require.NoError(t, err)
	complaint, err := os.ReadFile("testdata/mails/complaint.eml")
	require.NoError(t, err)
	send("From: nobody@example.net\r\nMessage-ID: <answer@example.net>\r\nIn-Reply-To: <sent-1@example.com>\r\n\r\nx\r\n")
	for range 2 {
		send(string(bounce))
		send(string(complaint))
	}
	got := mails(t, pool)
	require.Len(t, got, 3)
	require.Equal(t, "nobody@example.net", got[1].Data.Bounce.Recipient)
	require.Equal(t, got[0].Data.ConversationID, got[1].Data.ConversationID, "the report joins the conversation of the mail that it is about")
	require.Equal(t, "reader@isp.example", got[2].Data.Complaint.Recipient)
	bounced, complained := reports("email.bounced"), reports("email.complained")
	require.Len(t, bounced, 1, "once, like the mail")
	require.Len(t, complained, 1)
	require.Contains(t, bounced[0], got[1].Message+" "+got[1].Data.ConversationID+" {")
	require.Contains(t, bounced[0], `"bounce":{"recipient":"nobody@example.net","action":"failed","status":"5.1.1","diagnostic":"550 5.1.1 No such user","original_message_id":"sent-1@example.com"`)
	require.Contains(t, complained[0], `"complaint":{"feedback_type":"abuse","recipient":"reader@isp.example","original_message_id":"sent-2@example.com"`)

	send(strings.NewReplacer("Action: failed", "Action: delayed", "<4@", "<6@").Replace(string(bounce)))
	send(strings.NewReplacer("Message-ID: <sent-1@example.com>", "X: y", "<4@", "<7@").Replace(string(bounce)))
	require.Len(t, mails(t, pool), 5)
	require.Len(t, reports("email.bounced"), 1, "neither a delay nor a report about an unknown mail is a bounce")
}
