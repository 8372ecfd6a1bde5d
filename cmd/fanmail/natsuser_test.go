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
)

func TestANATSUserHandsInEventsOfItsTenantAlone(t *testing.T) {
	t.Parallel()
	tenant, other := "ten_"+strings.Repeat("0a", 16), "ten_"+strings.Repeat("0b", 16)
	_, printed, found := strings.Cut(must(t, t.TempDir(), "", "nats-user", tenant), `"intake-`)
	require.True(t, found)
	printed = `"intake-` + printed
	field := func(name string) string {
		return regexp.MustCompile(name + `: "([^"]*)"`).FindStringSubmatch(printed)[1]
	}
	file := filepath.Join(t.TempDir(), "nats.conf")
	accounts, err := os.ReadFile("../../deploy/nats/accounts.conf")
	require.NoError(t, err)
	users := regexp.MustCompile(`\$FANMAIL_NATS_\w+_PASSWORD`).ReplaceAllString(string(accounts), "all")
	config := strings.Replace(users, "accounts {", "accounts {\n"+printed, 1)
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	srv, err := devserver.StartNATS(devserver.NATSOptions{Dir: t.TempDir(), Config: file})
	require.NoError(t, err)
	t.Cleanup(srv.Stop)
	all, err := nats.Connect(srv.URL(), nats.UserInfo("operator", "all"))
	require.NoError(t, err)
	t.Cleanup(all.Close)
	js, err := jetstream.New(all)
	require.NoError(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "MAIL_INTAKE", Subjects: []string{"mail.intake.>"}})
	require.NoError(t, err)

	nc, err := nats.Connect(srv.URL(), nats.UserInfo(field("user"), field("password")), nats.CustomInboxPrefix("_INBOX_"+tenant))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	own, err := jetstream.New(nc)
	require.NoError(t, err)
	_, err = own.Publish(t.Context(), "mail.intake."+tenant, []byte("{}"))
	require.NoError(t, err)
	// The broker checks no permission for the subject of its answer.
	require.NoError(t, nc.PublishRequest("mail.intake."+tenant, "mail.intake."+other, []byte("{}")))
	_, err = own.Publish(t.Context(), "mail.intake."+tenant, []byte("{}"))
	require.NoError(t, err)
	kept, err := js.Stream(t.Context(), "MAIL_INTAKE")
	require.NoError(t, err)
	_, err = kept.GetLastMsgForSubject(t.Context(), "mail.intake."+other)
	require.ErrorIs(t, err, jetstream.ErrMsgNotFound)
	refused := make(chan error, 8)
	nc.SetErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err })
	for _, subject := range []string{"mail.intake." + other, "mail.events." + tenant + ".email.received", "$JS.API.STREAM.INFO.MAIL_INTAKE"} {
		require.NoError(t, nc.Publish(subject, []byte("{}")))
		require.NoError(t, nc.Flush())
		require.ErrorContains(t, <-refused, "Permissions Violation", subject)
	}
	refuses, err := nats.Connect(srv.URL(), nats.UserInfo("ingest", "all"))
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
		more, err := nats.Connect(srv.URL(), nats.UserInfo(field("user"), field("password")))
		require.NoError(t, err)
		t.Cleanup(more.Close)
	}
	_, err = nats.Connect(srv.URL(), nats.UserInfo(field("user"), field("password")))
	require.ErrorContains(t, err, "maximum account active connections exceeded")
	out, code := fanmail(t, t.TempDir(), "", "nats-user", "ten_x")
	require.Equal(t, 1, code)
	require.Contains(t, out, "is not a tenant's id")
}
