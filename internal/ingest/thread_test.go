package ingest_test

import (
	"strings"
	"testing"

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
