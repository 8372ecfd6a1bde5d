package ingest_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/ingest"
)

// longLines is a text of n bytes at least.
func longLines(word string, n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s %d with \"quotes\" and ümlauts\r\n", word, i)
	}
	return b.String()
}

// longMail is a mail of which every long field exceeds an event. The texts are larger than what the parser reads for one.
func longMail() (raw, text, page string) {
	var to, refs, marks, files strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&to, ",\r\n Person %d <person-%d@example.org>", i, i)
		fmt.Fprintf(&marks, "X-Mark-%d: %s\r\n", i, strings.Repeat("m", 100))
	}
	for i := range 500 {
		fmt.Fprintf(&refs, "\r\n <%d@example.org>", i)
	}
	for i := range 700 {
		fmt.Fprintf(&files, "--m\r\nContent-Type: application/x-%d\r\nContent-Disposition: attachment; filename=\"%s-%d.bin\"\r\n\r\n%d\r\n", i, strings.Repeat("f", 1200), i, i)
	}
	one, two := longLines("first", 400<<10), longLines("second", 400<<10)
	page = "<p>" + longLines("page", 700<<10) + "</p>"
	raw = "From: ann@example.org\r\nTo: a@example.com" + to.String() + "\r\nSubject: " + strings.Repeat("s", 5000) + "\r\nReferences:" + refs.String() +
		"\r\nMessage-ID: <long@example.org>\r\n" + marks.String() + "Content-Type: multipart/mixed; boundary=m\r\n\r\n" +
		"--m\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + one + "\r\n" +
		"--m\r\nContent-Type: multipart/alternative; boundary=alt\r\n\r\n--alt\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + two + "\r\n" +
		"--alt\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page + "\r\n--alt--\r\n" + files.String() + "--m--\r\n"
	return raw, one + two, page
}

func TestFieldsThatWereCutAreReadInFull(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{PublicURL: "https://mail.example.com"})
	raw, text, page := longMail()
	w := hello(t, s)
	w.begin("a@example.com")
	w.bdat(250, []byte(raw))
	got := mails(t, pool)[0]
	require.Equal(t, []string{"to", "subject", "references", "text", "html", "headers", "attachments"}, sortedAs(got.Data.Truncated))
	require.Len(t, got.Data.TruncatedURLs, len(got.Data.Truncated))

	data := reflect.ValueOf(got.Data)
	message := "/v1/messages/" + got.Message
	full := map[string]any{}
	for _, name := range got.Data.Truncated {
		require.Equal(t, "https://mail.example.com"+message+"/fields/"+name, got.Data.TruncatedURLs[name])
		value, err := ingest.ReadField(t.Context(), got.Raw, name, "https://mail.example.com"+message)
		require.NoError(t, err, name)
		full[name] = value
		cut := reflect.Value{}
		for i := range data.NumField() {
			if tag, _, _ := strings.Cut(data.Type().Field(i).Tag.Get("json"), ","); tag == name {
				cut = data.Field(i)
			}
		}
		require.True(t, cut.IsValid(), name)
		whole := reflect.ValueOf(value)
		require.Less(t, cut.Len(), whole.Len(), name)
		if name != "references" && name != "attachments" && name != "headers" { // their entries are cut too
			require.Equal(t, cut.Interface(), whole.Slice(0, cut.Len()).Interface(), "%s: the event has its beginning", name)
		}
	}
	words := func(v any) string { return strings.Join(strings.Fields(v.(string)), " ") } //nolint:forcetypeassert // of a test
	require.Equal(t, words(text), words(full["text"]))
	require.Contains(t, words(full["html"]), words(page))
	require.Len(t, full["to"], 3001)
	require.Len(t, full["subject"], 5000)
	require.Len(t, full["references"], 500)
	require.GreaterOrEqual(t, reflect.ValueOf(full["headers"]).Len(), 3000)
	files, ok := full["attachments"].([]email.Attachment)
	require.True(t, ok)
	require.Len(t, files, 700)
	require.Equal(t, "https://mail.example.com"+message+"/attachments/699", files[699].URL)
	require.Len(t, files[0].Filename, 1200+len("-0.bin"))
}

// sortedAs is the list in the order of the event's fields.
func sortedAs(list []string) []string {
	var out []string
	for _, f := range []string{"to", "subject", "references", "text", "html", "headers", "attachments"} {
		for _, have := range list {
			if have == f {
				out = append(out, f)
			}
		}
	}
	return append(out, list[len(out):]...)
}

// Every field is what the event has, where that was not cut.
func TestAFieldIsWhatItsEventHas(t *testing.T) {
	t.Parallel()
	pool, s := quick(t, ingest.Options{})
	w := hello(t, s)
	w.begin("a@example.com")
	w.data(250, "From: Ann <ann@example.org>\r\nSender: s@example.org\r\nTo: a@example.com\r\nCc: c@example.org\r\nReply-To: r@example.org\r\n"+
		"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <1@example.org>\r\nIn-Reply-To: <0@example.org>\r\nReferences: <0@example.org>\r\n"+
		"List-Id: A list <l.example.org>\r\nResent-From: r@example.org\r\n\r\nYes.\r\n\r\nOn Mon, Ann wrote:\r\n> No?\r\n")
	got := mails(t, pool)[0]
	var event map[string]json.RawMessage
	env := struct{ Data *map[string]json.RawMessage }{&event}
	require.NoError(t, json.Unmarshal(got.Envelope, &env))
	require.JSONEq(t, "{}", string(event["truncated_urls"]))
	names := []string{
		"from", "to", "cc", "reply_to", "sender", "resent", "subject", "message_id_header", "in_reply_to", "references", "text", "html",
		"reply_text", "reply_html", "list", "bounce", "complaint", "calendar", "headers", "attachments",
	}
	for _, name := range names {
		value, err := ingest.ReadField(t.Context(), got.Raw, name, "")
		if string(event[name]) == "null" {
			require.ErrorIs(t, err, ingest.ErrNoField, name)
			continue
		}
		require.NoError(t, err, name)
		b, err := json.Marshal(value)
		require.NoError(t, err)
		require.JSONEq(t, string(event[name]), string(b), name)
	}
	for _, none := range []string{"envelope", "authentication", "milters", "truncated", ""} {
		_, err := ingest.ReadField(t.Context(), got.Raw, none, "")
		require.ErrorIs(t, err, ingest.ErrNoField)
	}
}
