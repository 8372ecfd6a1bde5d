package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// producers are the accounts that nats-user prints, in a broker with deploy/nats/accounts.conf.
type producers struct {
	url     string
	printed map[string]string // by tenant
	all     jetstream.JetStream
}

// withProducers starts a broker in which each tenant has an account and an intake stream.
func withProducers(t *testing.T, config string, tenants ...string) producers {
	t.Helper()
	p := producers{printed: map[string]string{}}
	text := ""
	for _, tenant := range tenants {
		_, printed, found := strings.Cut(must(t, t.TempDir(), "", "nats-user", tenant), `"intake-`)
		require.True(t, found)
		p.printed[tenant] = `"intake-` + printed
		text += p.printed[tenant] + "\n"
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	accounts, err := os.ReadFile("../../deploy/nats/accounts.conf")
	require.NoError(t, err)
	users := regexp.MustCompile(`\$FANMAIL_NATS_\w+_PASSWORD`).ReplaceAllString(string(accounts), "all")
	require.NoError(t, os.WriteFile(file, []byte(config+strings.Replace(users, "accounts {", "accounts {\n"+text, 1)), 0o600))
	srv, err := devserver.StartNATS(devserver.NATSOptions{Dir: t.TempDir(), Config: file})
	require.NoError(t, err)
	t.Cleanup(srv.Stop)
	p.url = srv.URL()
	operator := strings.Replace(p.url, "://", "://operator:all@", 1)
	must(t, t.TempDir(), "", "streams", "--nats-url", operator, "--intake-tenants", strings.Join(tenants, ","))
	nc, err := nats.Connect(operator)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	p.all, err = jetstream.New(nc)
	require.NoError(t, err)
	return p
}

func (p producers) field(tenant, name string) string {
	return regexp.MustCompile(name + `: "([^"]*)"`).FindStringSubmatch(p.printed[tenant])[1]
}

func (p producers) user(tenant string) nats.Option {
	return nats.UserInfo(p.field(tenant, "user"), p.field(tenant, "password"))
}

// connect connects as the tenant's producer.
func (p producers) connect(t *testing.T, tenant string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(p.url, p.user(tenant), nats.CustomInboxPrefix("_INBOX_"+tenant))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	return nc, js
}

// TestAProducerFillsItsOwnStreamAlone: a producer that publishes until the broker refuses, with small messages and with
// large ones, takes no room of another tenant's.
func TestAProducerFillsItsOwnStreamAlone(t *testing.T) {
	t.Parallel()
	flooder, honest := "ten_"+strings.Repeat("0a", 16), "ten_"+strings.Repeat("0b", 16)
	p := withProducers(t, "jetstream {max_file: 300MB}\n", flooder, honest)
	_, flood := p.connect(t, flooder)
	var err error
	for size := 1 << 20; size > 0; size /= 32 {
		for err = nil; err == nil; {
			_, err = flood.Publish(t.Context(), "mail.intake."+flooder, make([]byte, size-size/16))
		}
		require.True(t, stream.Full(err), "%v", err)
	}
	_, others := p.connect(t, honest)
	for range 1000 {
		_, err = others.Publish(t.Context(), "mail.intake."+honest, make([]byte, 512))
		require.NoError(t, err)
	}
	found, err := stream.Intakes(t.Context(), p.all)
	require.NoError(t, err)
	full := map[string]bool{}
	for _, s := range found {
		full[s.Name] = s.Fullness() > .9
	}
	require.Equal(t, map[string]bool{"MAIL_INTAKE": false, "MAIL_INTAKE_" + flooder: true, "MAIL_INTAKE_" + honest: false}, full)
}

func TestANATSUserHandsInEventsOfItsTenantAlone(t *testing.T) {
	t.Parallel()
	tenant, other := "ten_"+strings.Repeat("0a", 16), "ten_"+strings.Repeat("0b", 16)
	p := withProducers(t, "", tenant)
	nc, own := p.connect(t, tenant)
	_, err := own.Publish(t.Context(), "mail.intake."+tenant, []byte("{}"))
	require.NoError(t, err)
	// The broker checks no permission for the subject of its answer.
	for _, answer := range []string{"mail.intake." + other, "mail.intake.own." + other} {
		require.NoError(t, nc.PublishRequest("mail.intake."+tenant, answer, []byte("{}")))
	}
	_, err = own.Publish(t.Context(), "mail.intake."+tenant, []byte("{}"))
	require.NoError(t, err)
	found, err := stream.Intakes(t.Context(), p.all)
	require.NoError(t, err)
	for _, s := range found {
		require.Equal(t, s.Own, s.Bytes > 0, s.Name)
	}
	refused := make(chan error, 8)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	for _, subject := range []string{"mail.intake." + other, "mail.intake.own." + tenant, "mail.intake.own." + other, "mail.events." + tenant + ".email.received", "$JS.API.STREAM.INFO.MAIL_INTAKE"} {
		require.NoError(t, nc.Publish(subject, []byte("{}")))
		require.NoError(t, nc.Flush())
		require.ErrorContains(t, <-refused, "Permissions Violation", subject)
	}
	refuses, err := nats.Connect(p.url, nats.UserInfo("ingest", "all"))
	require.NoError(t, err)
	t.Cleanup(refuses.Close)
	heard, err := nc.SubscribeSync("mail.dead.intake." + tenant) // which of its messages were refused
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	for _, of := range []string{other, tenant} {
		require.NoError(t, refuses.Publish("mail.dead.intake."+of, []byte(of)))
	}
	refusal, err := heard.NextMsg(time.Minute)
	require.NoError(t, err)
	require.Equal(t, tenant, string(refusal.Data))
	_, err = nc.SubscribeSync("mail.dead.intake." + other)
	require.NoError(t, err)
	require.ErrorContains(t, <-refused, "Permissions Violation")
	_, err = nc.SubscribeSync("mail.intake.>")
	require.NoError(t, err)
	require.ErrorContains(t, <-refused, "Permissions Violation")
	for range 63 {
		more, err := nats.Connect(p.url, p.user(tenant))
		require.NoError(t, err)
		t.Cleanup(more.Close)
	}
	_, err = nats.Connect(p.url, p.user(tenant))
	require.ErrorContains(t, err, "maximum account active connections exceeded")
	out, code := fanmail(t, t.TempDir(), "", "nats-user", "ten_x")
	require.Equal(t, 1, code)
	require.Contains(t, out, "is not a tenant's id")
}
