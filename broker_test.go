package fanmail_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/fanmailtest"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
)

// TestRunDeliversWithoutABrokerAndFindsItLater starts two processes before their
// broker, which is there only later.
func TestRunDeliversWithoutABrokerAndFindsItLater(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	for range 10 {
		kit.CreateWebhook(t, received)
	}
	port, err := freeport.Find() // below the ports of connections, of which one could take it meanwhile
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 2)
	var nc *nats.Conn
	for range 2 {
		nc, err = nats.Connect(fmt.Sprintf("nats://127.0.0.1:%d", port), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		c, err := fanmail.New(kit.Pool, nc, fanmail.Config{AllowHTTP: true, AllowNetworks: fanmailtest.Loopback()})
		require.NoError(t, err)
		go func() { done <- c.Run(ctx) }()
	}
	for range 30 {
		add(t, kit, kit.Tenant.ID, `{}`)
	}
	got := func(n int) func() bool { return func() bool { return len(kit.Receiver.Requests()) == n } }
	require.Eventually(t, got(300), time.Minute, 10*time.Millisecond)

	broker, err := devserver.StartNATS(devserver.NATSOptions{Dir: t.TempDir(), Port: port})
	require.NoError(t, err)
	t.Cleanup(broker.Stop)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	sent := 30
	require.Eventually(t, func() bool {
		add(t, kit, kit.Tenant.ID, `{}`)
		sent++
		s, err := js.Stream(t.Context(), "MAIL_EVENTS")
		return err == nil && s.CachedInfo().State.LastSeq > 5
	}, time.Minute, 100*time.Millisecond, "events travel through the broker")
	require.Eventually(t, got(10*sent), time.Minute, 10*time.Millisecond)
	stop()
	for range 2 {
		require.NoError(t, <-done)
	}
}
