package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
)

// Whatever a mail is made of, it makes an event that the outbox takes, and the
// same one every time.
func FuzzMailToEvent(f *testing.F) {
	for _, seed := range []string{
		"", "\r\n", "garbage", "\x00\xff\xfe",
		"From: Ann <a@b>\r\nTo: x@y, \"q, r\" <z@y>\r\nSubject: =?utf-8?q?=00a?=\r\nMessage-ID: <1@b>\r\nDate: Mon, 2 Jan 2026 15:04:05 +0100\r\n\r\nhi\r\n",
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html; charset=utf-16\r\n\r\n<p>\r\n--x\r\nContent-Disposition: inline; filename=\"=?x?\"\r\n\r\n1\r\n--x--",
		"Content-Type: multipart/related; boundary=\"\"\r\n\r\n--\r\n\r\n----\r\n",
		"Content-Type: text/plain; charset=\"iso-2022-jp\"\r\nContent-Transfer-Encoding: base64\r\n\r\n\x1b$B!!#=",
		"Subject: \xe9\r\n\tfolded\r\nReferences: <a> <b>\r\n: \r\n x\r\n\r\n\u2028\x01\"\\",
	} {
		f.Add([]byte(seed), "s@example.org")
	}
	for _, pattern := range []string{"testdata/mails/*.eml", "../mailparse/testdata/cases/*.eml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(f, err)
		require.NotEmpty(f, files)
		for _, name := range files {
			raw, err := os.ReadFile(name)
			require.NoError(f, err)
			f.Add(raw, "s@example.org")
		}
	}
	tenant := events.NewRandom[events.TenantKind]()
	s := &receiver{}
	f.Fuzz(func(t *testing.T, raw []byte, from string) {
		m := mail{from: from, raw: raw, size: int64(len(raw)), at: time.Unix(1, 0), authentication: unchecked, to: []recipient{recipient{address: "A@example.com", agent: "a@example.com", tenant: tenant}.addressed()}}
		kept := bytes.Clone(raw)
		copies := s.copies(m, parseMail(context.Background(), raw))
		require.Equal(t, kept, raw)
		require.Len(t, copies, 1)
		ev := copies[0].event
		require.NoError(t, ev.Validate())
		_, _, err := ev.Encode(events.NewID())
		require.NoError(t, err)
		require.True(t, utf8.Valid(ev.Data))
		require.NotContains(t, string(ev.Data), `\u0000`)
		var r email.Received
		require.NoError(t, json.Unmarshal(ev.Data, &r))
		require.Equal(t, int64(len(raw)), r.Size)
		if report, ok := copies[0].reported(); ok {
			require.NoError(t, report.Validate())
			_, _, err := report.Encode(events.NewID())
			require.NoError(t, err)
		}
		for name, url := range r.TruncatedURLs {
			require.Equal(t, "/v1/messages/"+r.MessageID+"/fields/"+name, url)
			_, err := ReadField(context.Background(), raw, name, "")
			require.True(t, err == nil || errors.Is(err, ErrPartOfField), "%s: %v", name, err)
		}
		if parseMail(context.Background(), raw).recognizable() {
			again := s.copies(m, parseMail(context.Background(), raw))
			require.Equal(t, ev, again[0].event)
		}
	})
}

// Whatever is too long, alone or together, the event fits and says what was
// cut, and no more is cut than must be.
func TestEveryFieldIsCutToFit(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\"\x01ü\u2028", 1<<17)
	list := make([]email.Address, 20_000)
	for i := range list {
		list[i] = email.Address{Name: "Näme", Address: "user@example.org"}
	}
	for name, set := range map[string]func(*email.Received){
		"text":        func(r *email.Received) { r.Text = long },
		"html":        func(r *email.Received) { r.HTML = long },
		"from":        func(r *email.Received) { r.From = list },
		"to":          func(r *email.Received) { r.To = list },
		"cc":          func(r *email.Received) { r.Cc = list },
		"reply_to":    func(r *email.Received) { r.ReplyTo = list },
		"headers":     func(r *email.Received) { r.Headers = make([][2]string, 100_000) },
		"attachments": func(r *email.Received) { r.Attachments = make([]email.Attachment, 10_000) },
		"references":  func(r *email.Received) { r.References = make([]string, 200_000) },
		"reply_text":  func(r *email.Received) { r.ReplyText = &long },
		"reply_html":  func(r *email.Received) { r.ReplyHTML = &long },
		"envelope":    func(r *email.Received) { r.Envelope.To = make([]string, 200_000) },
		"bounce":      func(r *email.Received) { r.Bounce = &email.Bounce{Recipients: make([]email.BouncedRecipient, 20_000)} },
	} {
		alone := &email.Received{Truncated: []string{}}
		set(alone)
		b := encode(alone)
		require.LessOrEqual(t, len(b), dataBytes, name)
		require.Greater(t, len(b), dataBytes-1024, name)
		var got email.Received
		require.NoError(t, json.Unmarshal(b, &got))
		require.Equal(t, []string{name}, got.Truncated)
		require.Empty(t, alone.Truncated, "the original is left alone")
	}
	all := &email.Received{
		Text: long, HTML: long, From: list, To: list, Cc: list, ReplyTo: list, Headers: make([][2]string, 100_000),
		Attachments: make([]email.Attachment, 10_000), Envelope: email.Envelope{To: make([]string, 200_000)}, Subject: long[:maxSubjectBytes], Truncated: []string{"subject"},
	}
	b := encode(all)
	require.LessOrEqual(t, len(b), dataBytes)
	var got email.Received
	require.NoError(t, json.Unmarshal(b, &got))
	require.Len(t, got.Truncated, 10)
	require.Equal(t, []int{10, 45, 45}, share(100, []int{10, 1000, 500}))
}

func TestParsingEndsWithItsTime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	p := parseMail(ctx, []byte("From: a@b\r\nSubject: s\r\n\r\nbody"))
	require.Contains(t, p.problem, "too long")
	require.Equal(t, "s", p.subject)
}
