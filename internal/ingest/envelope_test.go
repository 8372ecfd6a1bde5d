package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/email"
)

var update = flag.Bool("update", false, "write the golden envelopes anew")

// What a mail is told as has been sent to receivers: the bytes stay, until the
// schema's version or a new field says otherwise.
func TestTheEnvelopesOfMails(t *testing.T) {
	t.Parallel()
	tenant, err := events.Parse[events.TenantKind]("ten_000102030405060708090a0b0c0d0e0f")
	require.NoError(t, err)
	id, err := events.ParseID("evt_000102030405060708090a0b0c0d0e0f")
	require.NoError(t, err)
	at := time.Date(2026, 1, 2, 14, 4, 6, 789000000, time.UTC)
	mails, err := filepath.Glob("testdata/mails/*.eml")
	require.NoError(t, err)
	require.NotEmpty(t, mails)
	for _, f := range mails {
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		m := mail{
			from: "ann@example.org", raw: raw, size: int64(len(raw)), at: at, to: []recipient{recipient{address: "A@example.com", agent: "a@example.com", tenant: tenant}.addressed()},
			authentication: email.Authentication{
				Checked: true, Results: "mx.example.com; spf=pass smtp.mailfrom=example.org; dkim=fail header.d=example.org; dmarc=pass header.from=example.org policy.dmarc=reject",
				SPF:   email.SPF{Result: email.Pass, Domain: "example.org", ClientIP: "192.0.2.1", Helo: "mail.example.org", Aligned: true, Reason: "matched ip"},
				DKIM:  []email.DKIM{{Result: email.Fail, Domain: "example.org", Selector: "s1", Identity: "@example.org", Aligned: true, Reason: "body hash did not verify"}},
				DMARC: email.DMARC{Result: email.Pass, Domain: "example.org", RecordDomain: "example.org", Policy: "reject", Percent: 100},
			},
		}
		if strings.HasSuffix(f, "full.eml") {
			score, spam := 1.2, false
			m.milters = []email.Milter{
				{Name: "rspamd", Action: email.MilterAccept, Spam: &spam, Score: &score, Headers: [][2]string{{"X-Spam-Status", "No, score=1.20"}}},
				{Name: "clamav", Action: email.MilterAccept, Headers: [][2]string{{"X-Virus-Status", "Clean"}}},
			}
			m.to = []recipient{recipient{address: "A+Order.17@example.com", agent: "a@example.com", tenant: tenant}.addressed()}
		}
		if strings.HasSuffix(f, "bare.eml") {
			m.authentication, m.from = unchecked, ""
		}
		p := parseMail(context.Background(), raw)
		s := &receiver{o: Options{PublicURL: "https://mail.example.com"}}
		c := s.copies(m, p)[0]
		if report, ok := c.reported(); ok {
			golden(t, id, at, report, string(report.Type)+".json")
		}
		ev := c.event
		if !p.recognizable() { // its ids are random
			ev.Data = []byte(strings.NewReplacer(ev.MessageID, "msg_000102030405060708090a0b0c0d0e0f", ev.ConversationID, "conv_000102030405060708090a0b0c0d0e0f").Replace(string(ev.Data)))
		}
		golden(t, id, at, ev, "email.received-"+strings.TrimSuffix(filepath.Base(f), ".eml")+".json")
	}
}

// golden compares an event's envelope with the file of that name.
func golden(t *testing.T, id events.ID, at time.Time, ev events.Event, name string) {
	t.Helper()
	head, tail, err := ev.Encode(id)
	require.NoError(t, err)
	got := append(append(head, at.Format(events.TimeLayout)...), tail...)
	file := filepath.Join("..", "..", "events", "testdata", "envelopes", name)
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), name)
}

// The page about the data of mail events shows envelopes as the code makes them.
func TestThePageOfMailEventsShowsRealEvents(t *testing.T) {
	t.Parallel()
	const page = "../../docs/reference/mail-events.md"
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	shown := string(text)
	for heading, file := range map[string]string{"### email.received": "email.received-full.json", "### email.bounced": "email.bounced.json", "### email.complained": "email.complained.json"} {
		envelope, err := os.ReadFile(filepath.Join("..", "..", "events", "testdata", "envelopes", file))
		require.NoError(t, err)
		var pretty bytes.Buffer
		require.NoError(t, json.Indent(&pretty, envelope, "", "  "))
		before, rest, ok := strings.Cut(shown, heading+"\n")
		require.True(t, ok, heading)
		between, rest, ok := strings.Cut(rest, "```json\n")
		require.True(t, ok)
		_, after, ok := strings.Cut(rest, "\n```\n")
		require.True(t, ok)
		shown = before + heading + "\n" + between + "```json\n" + pretty.String() + "\n```\n" + after
	}
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(shown), 0o600))
		return
	}
	require.Equal(t, shown, string(text))
}
