package app

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/milter"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/miltertest"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestAMilterThatDoesNotAnswerIsNamedWithARemedy(t *testing.T) {
	t.Parallel()
	db, broker := Database{URL: secret.Text(pgtest.URL(t))}, NATS{URL: secret.Text(natstest.URL(t))}
	babbles := miltertest.Broken(t, func(c net.Conn) { _, _ = c.Write([]byte("220 hello\r\n")) })
	base, _ := running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunIngest(ctx, IngestConfig{
			Database: db, NATS: broker, Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"},
			SMTP: SMTP{Addr: "127.0.0.1:0", Milters: []string{
				"inet:" + closedPort(t) + "?name=spam", "unix:" + t.TempDir() + "/none?name=virus&on_failure=accept", babbles + "?name=odd",
				miltertest.Serve(t, miltertest.Filter{}) + "?name=good",
			}},
		}, l)
	})
	for name, kind := range map[string]milter.FailureKind{"spam": milter.Unreachable, "virus": milter.Unreachable, "odd": milter.Broken} {
		s := stands(t, base, http.StatusOK, readyDegraded, "milter "+name, withCode(string(kind)))
		require.Contains(t, s.Error, "ask milter "+name+" at ")
		require.NotEmpty(t, s.Remedy)
	}
	stands(t, base, http.StatusOK, readyDegraded, "milter good", func(s health.State) bool { return s.Status == health.OK && !s.LastSuccess.IsZero() })
	require.Eventually(t, func() bool {
		for _, f := range Diagnose(t.Context(), DoctorConfig{Database: db, NATS: broker}) {
			if strings.Contains(f.Detail, "milter spam") && strings.Contains(f.Detail+f.Fix, "FANMAIL_MILTER") {
				return true
			}
		}
		return false
	}, patience, 100*time.Millisecond)
}

func TestEachKindOfFailureOfAMilterHasARemedy(t *testing.T) {
	t.Parallel()
	for _, kind := range []milter.FailureKind{milter.Unreachable, milter.Silent, milter.Broken} {
		f, known := health.Explain(&milter.Failure{Kind: kind, Err: http.ErrServerClosed})
		require.True(t, known, kind)
		require.Equal(t, health.Milter, f.Party)
	}
}

func TestAddressesOfMiltersAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []string{"127.0.0.1:11332", "inet:localhost", "inet::1", "inet:host:0", "inet:host:x", "unix:relative", "inet:h:1?name=", "inet:h:1?name=a b", "inet:h:1?on_failure=maybe", "inet:h:1?color=red", ""} {
		_, err := (&SMTP{Milters: []string{c}}).milters()
		require.ErrorContains(t, err, "FANMAIL_MILTER", c)
		require.ErrorContains(t, UpConfig{SMTPAddr: "127.0.0.1:0", APIAddr: "127.0.0.1:0", Milters: []string{c}}.Validate(), "--milter", c)
	}
	_, err := (&SMTP{Milters: []string{"inet:a:1?name=x", "inet:b:1?name=x"}}).milters()
	require.ErrorContains(t, err, "another milter has the name")
	list, err := (&SMTP{Milters: []string{"inet:[::1]:11332", "unix:/run/clamav/ctl?on_failure=accept&name=clamav"}}).milters()
	require.NoError(t, err)
	require.Equal(t, []milter.Address{
		{Name: "milter1", Network: "tcp", Host: "[::1]:11332"}, {Name: "clamav", Network: "unix", Host: "/run/clamav/ctl", AcceptOnFailure: true},
	}, list)
}
