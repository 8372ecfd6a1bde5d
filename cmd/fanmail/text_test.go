package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAMailGetsAnotherMessageIDAndNothingElse(t *testing.T) {
	t.Parallel()
	raw := crlf([]byte("From: a@b.example\nMESSAGE-ID:\n <old@b.example>\nSubject: x\n folded\n\nMessage-ID: stays\n\nbody"))
	require.Equal(t,
		"Message-ID: <new>\r\nFrom: a@b.example\r\nSubject: x\r\n folded\r\n\r\nMessage-ID: stays\r\n\r\nbody",
		string(withMessageID(raw, "<new>")))
	require.Equal(t, "Message-ID: <new>\r\n\r\n", string(withMessageID(nil, "<new>")))
}

func TestTheSenderIsTheAddressInFrom(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a@b.example", sender([]byte("From: A <a@b.example>\r\n\r\n")))
	require.Empty(t, sender([]byte("From: nobody in particular\r\n\r\n")))
	require.Empty(t, sender([]byte("no mail at all")))
}

func TestStrangersDoNotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	require.Equal(t, "\uFFFD[31mred\uFFFD", cell("\x1b[31mred\n"))
	require.Equal(t, "a,b", cell([]any{"a", "b"}))
	require.Equal(t, "-", cell(nil))
	require.Equal(t, `{"k":"v"}`, cell(map[string]any{"k": "v"}))
}

func TestATimeIsAPointOrSoLongAgo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at, err := parseTime("2h", now)
	require.NoError(t, err)
	require.Equal(t, now.Add(-2*time.Hour), at)
	at, err = parseTime("2026-01-02T00:00:00Z", now)
	require.NoError(t, err)
	require.Equal(t, now.Truncate(24*time.Hour), at)
	_, err = parseTime("yesterday", now)
	require.Error(t, err)
}
