package app

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/test/dnstest"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestTheDoctorFollowsADomainUntilItReceivesMail begins with an ingest and no domain, and does what the findings say.
func TestTheDoctorFollowsADomainUntilItReceivesMail(t *testing.T) {
	t.Parallel()
	const host = "127.18.0.2" // /etc/hosts has no name for it
	port, err := freeport.Find()
	require.NoError(t, err)
	url := pgtest.URL(t)
	db, broker := Database{URL: secret.Text(url)}, NATS{URL: secret.Text(natstest.URL(t))}
	base, _ := running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunIngest(ctx, IngestConfig{
			Database: db, NATS: broker, Lifecycle: Lifecycle{HTTPAddr: "127.0.0.1:0"}, SMTP: SMTP{Addr: net.JoinHostPort(host, strconv.Itoa(port))},
		}, l)
	})
	require.Eventually(t, func() bool {
		code, _ := standing(t, base)
		return code == http.StatusOK
	}, patience, 50*time.Millisecond, "it takes mail")
	dns, _ := dnstest.Serve(t, dnstest.Zone{
		"example.com. MX": {"10 mx.example.com."}, "mx.example.com. A": {host}, "2.0.18.127.in-addr.arpa. PTR": {"mx.example.com."},
	})
	postmaster := "postmaster at mx.example.com [" + host + "]"
	diagnose := func(domain string) map[string]Finding {
		by := map[string]Finding{}
		for _, f := range Diagnose(t.Context(), DoctorConfig{
			Database: db, NATS: broker, MailDomain: MailDomain{Domain: domain, DNSServer: dns, SMTPPort: uint16(port)},
		}) {
			by[f.Check] = f
			require.Equal(t, f.Status == FindingOK, f.Fix == "", "a finding that is not ok has a fix: %+v", f)
		}
		return by
	}
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	tenant, err := tenancy.Create(t.Context(), conn, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)

	found := diagnose("Example.com.")
	require.Equal(t, FindingFail, found["domain"].Status)
	require.Contains(t, found["domain"].Fix, "fanmail domains create example.com")
	require.Equal(t, FindingOK, found["MX"].Status)
	require.Equal(t, FindingFail, found[postmaster].Status)
	require.Contains(t, found[postmaster].Detail, "550 ")

	_, err = mailbox.ClaimDomain(t.Context(), conn, tenant.ID, "example.com")
	require.NoError(t, err)
	found = diagnose("example.com")
	require.Equal(t, FindingFail, found["domain"].Status)
	require.Contains(t, found["domain"].Fix, "fanmail domains verify example.com")

	give := func(name string) {
		require.NoError(t, pgx.BeginFunc(t.Context(), conn, func(tx pgx.Tx) error {
			_, err := mailbox.GiveDomain(t.Context(), tx, tenant.ID, name)
			return err
		}))
	}
	give("example.com")
	found = diagnose("example.com")
	require.Equal(t, FindingFail, found["domain"].Status)
	require.Contains(t, found["domain"].Fix, "fanmail agents create '*@example.com'")

	_, _, err = mailbox.CreateAgent(t.Context(), conn, tenant.ID, "robot@example.com", "")
	require.NoError(t, err)
	found = diagnose("example.com")
	require.Equal(t, FindingOK, found["domain"].Status)
	require.Contains(t, found["domain"].Detail, "mail to other addresses is refused")

	_, _, err = mailbox.CreateAgent(t.Context(), conn, tenant.ID, "*@example.com", "")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		found = diagnose("example.com")
		return found[postmaster].Status == FindingOK
	}, patience, 100*time.Millisecond, "%+v", found)
	require.Contains(t, found["domain"].Detail, "takes all its mail")

	found = diagnose("sub.example.com")
	require.Contains(t, found["domain"].Detail, "has example.com")
	give(mailbox.EveryDomain)
	require.Contains(t, diagnose("example.org")["domain"].Detail, "every domain without another owner")
	require.Equal(t, FindingFail, diagnose("not a domain")["domain"].Status)
}
