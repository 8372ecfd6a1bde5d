package health_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

var update = flag.Bool("update", false, "write docs/reference/faults.md")

const page = "../../docs/reference/faults.md"

// TestFaultsAreDocumented compares the table with docs/reference/faults.md.
func TestFaultsAreDocumented(t *testing.T) {
	t.Parallel()
	var table strings.Builder
	table.WriteString("| party | code | ends by | meaning | what to do |\n|---|---|---|---|---|\n")
	seen := map[string]bool{}
	for _, f := range health.Faults() {
		ends := "itself"
		if f.Permanent {
			ends = "action"
		}
		require.NotEmpty(t, f.Means, f.Code)
		require.NotEmpty(t, f.Remedy, f.Code)
		require.False(t, seen[f.Party+f.Code], "%s is there twice", f.Code)
		seen[f.Party+f.Code] = true
		fmt.Fprintf(&table, "| %s | `%s` | %s | %s | %s |\n", f.Party, f.Code, ends, f.Means, f.Remedy)
	}
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	if *update {
		head, _, found := bytes.Cut(text, []byte("| party |"))
		require.True(t, found)
		text = append(bytes.Clone(head), table.String()...)
		require.NoError(t, os.WriteFile(page, text, 0o600))
	}
	require.True(t, strings.HasSuffix(string(text), table.String()), "write it with: go test ./internal/health -run TestFaultsAreDocumented -update")
}

// TestRemediesNameSettingsThatExist looks the variables of remedies up.
func TestRemediesNameSettingsThatExist(t *testing.T) {
	t.Parallel()
	settings, err := os.ReadFile("../../docs/reference/configuration.md")
	require.NoError(t, err)
	for _, f := range health.Faults() {
		for _, name := range regexp.MustCompile(`FANMAIL_[A-Z_]+|--[a-z-]+`).FindAllString(f.Remedy, -1) {
			if name != "--grants" {
				require.Contains(t, string(settings), "`"+name+"`", f.Code)
			}
		}
	}
}

func TestErrorsAreExplained(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err       error
		code      string
		permanent bool
	}{
		{&pgconn.PgError{Code: "25006"}, "25006", true},
		{&pgconn.PgError{Code: "53300"}, "53300", false},
		{&pgconn.PgError{Code: "57P03"}, "57P03", false},
		{&pgconn.PgError{Code: "23505"}, "", false},
		{&pgconn.ConnectError{Config: &pgconn.Config{}}, "unreachable", false},
		{&jetstream.APIError{ErrorCode: 10023}, "10023", true},
		{&jetstream.APIError{ErrorCode: 10077}, "10077", true},
		{&jetstream.APIError{ErrorCode: 10008}, "10008", false},
		{&stream.OverlapError{}, "10065", true},
		{&stream.MismatchError{}, "mismatch", true},
		{fmt.Errorf("%w: %w", stream.ErrAway, nats.ErrAuthorization), "refused", true},
		{fmt.Errorf("%w: %w", stream.ErrAway, nats.ErrNoServers), "unreachable", false},
		{stream.ErrNoAck, "no answer", false},
		{fmt.Errorf("look up stream X: %w", nats.ErrNoResponders), "10076", true},
		{jetstream.ErrJetStreamNotEnabled, "10076", true},
		{jetstream.ErrNoStreamResponse, "no stream", false},
		{errors.New("other"), "", false},
		{nil, "", false},
	} {
		err := c.err
		if err != nil {
			err = fmt.Errorf("publish: %w", err)
		}
		f, known := health.Explain(err)
		require.Equal(t, c.code, f.Code, "%v", err)
		require.Equal(t, c.permanent, f.Permanent, "%v", err)
		require.Equal(t, c.code != "", known, "%v", err)
	}
}

func TestAComponentKeepsItsLastErrorAndWhatItMeans(t *testing.T) {
	t.Parallel()
	r := health.NewRegistry()
	c := r.Component("x", true, 0)
	require.Equal(t, health.OK, health.Overall(r.States()))
	require.True(t, c.Report(fmt.Errorf("write:\n%w", &pgconn.PgError{Code: "42501", Severity: "ERROR", Message: "no"})))
	require.False(t, c.Report(&pgconn.PgError{Code: "42501", Message: "no"}))
	s := r.States()[0]
	require.Equal(t, health.Failing, s.Status)
	require.Equal(t, health.Failing, health.Overall(r.States()))
	require.Contains(t, s.Line(s.LastError), "the role lacks a right")
	require.NotContains(t, s.Error, "\n")
	require.True(t, c.Report(nil))
	s = r.States()[0]
	require.Equal(t, health.Degraded, s.Status, "an error of just now needs attention")
	require.Equal(t, "42501", s.Code)
	require.False(t, s.LastSuccess.IsZero())
	require.Zero(t, s.Since)

	other := health.NewRegistry()
	other.Component("y", false, 0).Report(errors.New("no"))
	require.Equal(t, health.Degraded, health.Overall(other.States()), "a process works without it")
}

func TestWhatIsBackIsNotToBeStarted(t *testing.T) {
	t.Parallel()
	r := health.NewRegistry()
	c := r.Component("broker", true, 0)
	c.Report(fmt.Errorf("publish: %w", nats.ErrConnectionClosed))
	s := r.States()[0]
	require.Equal(t, "unreachable", s.Code)
	require.Contains(t, s.Remedy, "start NATS")
	c.Report(nil)
	s = r.States()[0]
	require.Equal(t, health.Degraded, s.Status)
	require.NotEmpty(t, s.Error, "what happened stays for a while")
	require.Empty(t, s.Remedy)
	c.Report(&pgconn.PgError{Code: "42501", Message: "no"})
	c.Report(nil)
	require.NotEmpty(t, r.States()[0].Remedy, "a right that is missing for one statement is missing after another one's success")
}

// TestTheRemedyCountsFanmailsStreams compares the remedy of an account without room for streams with the streams.
func TestTheRemedyCountsFanmailsStreams(t *testing.T) {
	t.Parallel()
	f, known := health.Lookup(health.Broker, "10027")
	require.True(t, known)
	const buckets = 2 // [stream.RawObjectsStream] and [stream.RecipientsStream]
	require.Contains(t, f.Remedy, fmt.Sprintf("Fanmail needs %d,", len(stream.Configs(stream.Options{Role: stream.Everything}))+buckets))
}

func TestAMeaningIsNotSaidTwice(t *testing.T) {
	t.Parallel()
	r := health.NewRegistry()
	r.Component(health.Broker, true, 0).Report(stream.ErrAway)
	require.Equal(t, "the broker is away", r.States()[0].Why())
}
