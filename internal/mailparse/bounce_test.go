package mailparse

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Reports of servers that write no delivery status, and mails that look like one and are none: their names begin with
// "no-".
func TestBouncesWithoutADeliveryStatus(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("testdata/bounces/expected.json")
	require.NoError(t, err)
	var cases map[string]struct {
		MTA, ID    string
		Recipients []struct {
			Recipient, Status string
			Has               string `json:"diagnostic_has"`
		}
	}
	require.NoError(t, json.Unmarshal(b, &cases))
	files, err := filepath.Glob("testdata/bounces/*.eml")
	require.NoError(t, err)
	require.Greater(t, len(files), len(cases))
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".eml")
		raw, err := os.ReadFile(f)
		require.NoError(t, err)
		m := Parse(context.Background(), raw)
		if strings.HasPrefix(name, "no-") {
			require.Nil(t, m.Report, name)
			continue
		}
		want, ok := cases[name]
		require.True(t, ok, name)
		require.NotNil(t, m.Report, name)
		require.False(t, m.Report.Complaint)
		require.Equal(t, want.MTA, m.Report.ReportingMTA, name)
		require.Equal(t, want.ID, m.Report.OriginalMessageID, name)
		require.Len(t, m.Report.Recipients, len(want.Recipients), name)
		for i, r := range m.Report.Recipients {
			require.Equal(t, want.Recipients[i].Recipient, r.Recipient, name)
			require.Equal(t, want.Recipients[i].Status, r.Status, name)
			require.Contains(t, r.Diagnostic, want.Recipients[i].Has, name)
			require.Equal(t, "failed", r.Action, name)
		}
		require.Equal(t, AutoReplied, m.AutoSubmitted, name)
	}
}

// A report is bounded like any other.
func TestABounceOfManyRecipientsIsCut(t *testing.T) {
	t.Parallel()
	list := strings.Repeat("<nobody@example.net>:\r\nUnknown.\r\n\r\n", 10_000)
	m := Parse(context.Background(), []byte("From: mailer-daemon@mx.example\r\n\r\nHi. This is the qmail-send program at mx.example.\r\n\r\n"+list+"--- Below this line is a copy of the message.\r\n\r\nFrom: a@b.example\r\n"))
	require.Nil(t, m.Report, "the copy is beyond what is read")
	m = Parse(context.Background(), []byte("From: mailer-daemon@mx.example\r\nX-Failed-Recipients: "+strings.Repeat("nobody@example.net, ", 1000)+"x@example.net\r\n\r\nSorry.\r\n"))
	require.Len(t, m.Report.Recipients, 100)
}
