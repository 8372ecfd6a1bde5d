package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
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
	require.Equal(t, "k: v, n: -", cell(map[string]any{"k": "v", "n": nil}))
	require.Equal(t, "-", cell(map[string]any{}))
	require.Equal(t, `{"a":"\u009b🏴\udb40\udc67"}`, escaped("{\"a\":\"\u009b🏴\U000e0067\"}"), "other characters of JSON stay")
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

func TestATableFitsTheTerminal(t *testing.T) {
	t.Parallel()
	lines := [][]string{
		{"ID", "URL", "STATUS"},
		{"wh_0123456789", "https://a-long-host.example.com/with/a/long/path", "delivered"},
		{"wh_1", "https://日本語.example/", "failed"},
	}
	for _, width := range []int{1000, 60, 40} {
		fitted, left := fit(lines, make([]bool, 3), width)
		require.Empty(t, left)
		for _, line := range fitted {
			text := strings.Join(line, gap)
			require.LessOrEqual(t, runewidth.StringWidth(text), width, text)
			require.True(t, strings.HasPrefix(text, "wh_0123456789") || !strings.Contains(text, "wh_0"), "the name stays whole: %s", text)
		}
	}
	fitted, _ := fit(lines, make([]bool, 3), 40)
	require.Contains(t, fitted[1][1], "…")
	fitted, _ = fit(lines, make([]bool, 3), 1000)
	require.NotContains(t, fitted[1][1], "…")
	fitted, left := fit(lines, make([]bool, 3), 10)
	require.Equal(t, [][]string{{"ID        "}, {"wh_012345…"}, {"wh_1      "}}, fitted, "a name is cut only where it has no room alone")
	require.Equal(t, []string{"URL", "STATUS"}, left)
}

func TestColoursAreForTerminals(t *testing.T) {
	t.Parallel()
	require.Equal(t, "failed", (&session{}).paint(bad, "failed"))
	require.Equal(t, "\x1b[31mfailed\x1b[0m", (&session{colours: true}).paint(bad, "failed"))
	require.False(t, coloured(&screen{}), "no terminal")
}

// completed returns what the shell is told that a line could become.
func completed(t *testing.T, line string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program(t, "fanmail"))
	cmd.Env = append(os.Environ(), "COMP_LINE="+line, fmt.Sprintf("COMP_POINT=%d", len(line)))
	out, err := cmd.Output()
	require.NoError(t, err)
	return string(out)
}

func TestTheShellIsToldWhatALineCouldBecome(t *testing.T) {
	t.Parallel()
	out := completed(t, "fanmail webhooks r")
	require.Contains(t, strings.Fields(out), "rotate")
	require.NotContains(t, out, "list")
}
