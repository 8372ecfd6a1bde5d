package stream_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// TestAnAccountIsAddedWhileProcessesWork: an operator adds a producer's account and reloads the server.
func TestAnAccountIsAddedWhileProcessesWork(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	file := filepath.Join(t.TempDir(), "nats.conf")
	options := fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream {store_dir: %q}\n", t.TempDir())
	require.NoError(t, os.WriteFile(file, []byte(options+accounts(t)), 0o600))
	o, err := server.ProcessConfigFile(file)
	require.NoError(t, err)
	o.NoSigs, o.NoLog = true, true
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(time.Minute))
	as := func(user string) (*nats.Conn, jetstream.JetStream) {
		nc, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, "secret"), nats.CustomInboxPrefix("_INBOX_"+user), nats.ReconnectWait(10*time.Millisecond))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		js, err := jetstream.New(nc)
		require.NoError(t, err)
		return nc, js
	}
	_, operator := as("operator")
	require.NoError(t, stream.EnsureAll(ctx, operator, stream.Options{}))
	_, ingest := as("ingest")
	publishes, publisher := as("publisher")
	wakes, _ := as("api")
	taken := make(chan string, 64)
	hints, err := publishes.SubscribeSync("fanmail.wake.outbox")
	require.NoError(t, err)
	require.NoError(t, publishes.Flush())

	for range 2 {
		id := events.NewRandom[events.TenantKind]()
		require.NoError(t, stream.EnsureAll(ctx, operator, stream.Options{IntakeTenants: []events.TenantID{id}}))
		consumer, err := ingest.Consumer(ctx, stream.OwnIntakeName(id), stream.IntakeConsumer)
		require.NoError(t, err)
		consuming, err := consumer.Consume(func(m jetstream.Msg) {
			_ = m.Ack()
			taken <- m.Subject()
		}, jetstream.PullExpiry(time.Second*2), jetstream.PullHeartbeat(time.Second))
		require.NoError(t, err)
		t.Cleanup(consuming.Stop)
		tenant := id.String()
		added := `"intake-` + tenant + `" {
			users: [{user: "intake-` + tenant + `", password: secret, permissions {publish: ["mail.intake.` + tenant + `"], subscribe: ["_INBOX_intake-` + tenant + `.>"]}}]
			imports: [{service: {account: FANMAIL, subject: "mail.intake.own.` + tenant + `"}, to: "mail.intake.` + tenant + `"}]
		}`
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), "accounts {", "accounts {\n"+added, 1)), 0o600))
		require.NoError(t, s.Reload())
		require.NoError(t, s.Reload(), "the server connects the imports of a new account at the reload after it")
		_, producer := as("intake-" + tenant)
		_, err = producer.Publish(ctx, "mail.intake."+tenant, []byte("x"))
		require.NoError(t, err)
		select {
		case subject := <-taken:
			require.Equal(t, "mail.intake.own."+tenant, subject)
		case <-time.After(time.Minute):
			require.Fail(t, "ingest gets no message after the reload")
		}
		_, err = publisher.Publish(ctx, "mail.events.ten_x.email.sent", []byte("x"))
		require.NoError(t, err)
		require.NoError(t, wakes.Publish("fanmail.wake.outbox", nil))
		_, err = hints.NextMsg(time.Minute)
		require.NoError(t, err)
	}
}
