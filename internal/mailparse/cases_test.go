package mailparse

import (
	"context"
	"encoding/json"
	"html"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// right is what the event of a case must have. An absent field is not checked.
type right struct {
	From        []Address        `json:"from"`
	To          []Address        `json:"to"`
	Cc          []Address        `json:"cc"`
	ReplyTo     []Address        `json:"reply_to"`
	Subject     *string          `json:"subject"`
	Text        *string          `json:"text"`
	TextHas     []string         `json:"text_has"`
	HTMLHas     []string         `json:"html_has"`
	TextNot     []string         `json:"text_not"`
	ReplyText   *json.RawMessage `json:"reply_text"`
	NotShorter  *string          `json:"reply_text_not_shorter"`
	Date        *time.Time       `json:"date"`
	Attachments *[][2]any        `json:"attachments"`
	AtLeast     int              `json:"attachments_min"`
}

// Mails as people send them, each a report about some mail program, and what their event must say.
func TestMailsOfTheWorldSayWhatTheirAuthorsMeant(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/cases/expected.json")
	require.NoError(t, err)
	var cases map[string]right
	require.NoError(t, json.Unmarshal(b, &cases))
	files, err := filepath.Glob("testdata/cases/*.eml")
	require.NoError(t, err)
	require.Len(t, files, len(cases))
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".eml")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, err := os.ReadFile(f)
			require.NoError(t, err)
			want, ok := cases[name]
			require.True(t, ok)
			want.check(t, Parse(context.Background(), raw))
		})
	}
}

func (want right) check(t *testing.T, m *Mail) {
	t.Helper()
	for field, list := range map[string][2][]Address{
		"From": {want.From, m.From}, "To": {want.To, m.To}, "Cc": {want.Cc, m.Cc}, "Reply-To": {want.ReplyTo, m.ReplyTo},
	} {
		if list[0] != nil {
			require.Equal(t, list[0], list[1], field)
		}
	}
	if want.Subject != nil {
		require.Equal(t, *want.Subject, m.Subject)
	}
	if want.Text != nil {
		require.Equal(t, *want.Text, even(m.Text))
	}
	for _, s := range want.TextHas {
		require.Contains(t, m.Text, s)
	}
	for _, s := range want.HTMLHas {
		require.Contains(t, html.UnescapeString(m.HTML), s)
	}
	for _, s := range want.TextNot {
		require.NotContains(t, strings.Split(even(m.Text), "\n"), s)
	}
	if want.Date != nil {
		require.True(t, m.HasDate)
		require.True(t, want.Date.Equal(m.Date), "%s", m.Date)
	}
	want.checkReply(t, m)
	if want.Attachments != nil {
		require.Len(t, m.Attachments, len(*want.Attachments))
		for i, a := range *want.Attachments {
			require.Equal(t, [2]any{m.Attachments[i].Filename, float64(m.Attachments[i].Size)}, a)
		}
	}
	require.GreaterOrEqual(t, len(m.Attachments), want.AtLeast)
}

func (want right) checkReply(t *testing.T, m *Mail) {
	t.Helper()
	if want.NotShorter != nil && m.Reply != nil {
		require.Contains(t, *m.Reply, *want.NotShorter)
	}
	if want.ReplyText == nil {
		return
	}
	if string(*want.ReplyText) == "null" {
		require.Nil(t, m.Reply)
		return
	}
	var reply string
	require.NoError(t, json.Unmarshal(*want.ReplyText, &reply))
	require.NotNil(t, m.Reply)
	require.Equal(t, reply, *m.Reply)
}

// even is a text without the differences that do not count: line ends, and spaces at the end of lines.
func even(s string) string {
	var out []string
	for l := range strings.SplitSeq(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
		out = append(out, strings.TrimRight(l, " \t\r"))
	}
	return strings.TrimSpace(strings.Join(out, "\n"))
}
