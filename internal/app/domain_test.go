package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// server starts a NATS with a configuration of nats-server's own kind.
func server(t *testing.T, config string) *devserver.NATS {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	s, err := devserver.StartNATS(devserver.NATSOptions{Dir: t.TempDir(), Config: file})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s
}

// TestALeafNodeUsesTheStreamsOfItsHub runs publisher and dispatcher on a leaf node that has a JetStream of its own, with
// the domain and with the API prefix of the hub.
func TestALeafNodeUsesTheStreamsOfItsHub(t *testing.T) {
	t.Parallel()
	for name, setting := range map[string]NATS{"domain": {Domain: "hub"}, "prefix": {Prefix: "$JS.hub.API"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port, err := freeport.Find()
			require.NoError(t, err)
			server(t, fmt.Sprintf("jetstream { domain: hub }\nleafnodes { listen: \"127.0.0.1:%d\" }\n", port))
			leaf := server(t, fmt.Sprintf("jetstream { domain: leaf }\nleafnodes { remotes: [{ url: \"nats://127.0.0.1:%d\" }] }\n", port))
			setting.URL = secret.Text(leaf.URL())
			arrived := make(chan string, 1)
			receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				arrived <- r.Header.Get("webhook-id")
			}))
			t.Cleanup(receiver.Close)
			url := pgtest.URL(t)
			id := insertOne(t, url, receiver.URL)
			db := Database{URL: secret.Text(url)}
			out := Outbound{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
			whole(t, func(ctx context.Context) error {
				return RunPublisher(ctx, PublisherConfig{Database: db, NATS: setting}, zap.NewNop())
			})
			whole(t, func(ctx context.Context) error {
				return RunDispatcher(ctx, DispatcherConfig{Database: db, NATS: setting, Outbound: out}, zap.NewNop())
			})
			select {
			case got := <-arrived:
				require.Equal(t, id.String(), got)
			case <-time.After(patience):
				require.Fail(t, "the event did not arrive")
			}
			nc, err := nats.Connect(leaf.URL())
			require.NoError(t, err)
			t.Cleanup(nc.Close)
			hub, err := jetstream.NewWithDomain(nc, "hub")
			require.NoError(t, err)
			st, err := hub.Stream(t.Context(), stream.Events)
			require.NoError(t, err)
			require.EqualValues(t, 1, st.CachedInfo().State.LastSeq, "the event went through the hub's stream")
			own, err := jetstream.NewWithDomain(nc, "leaf")
			require.NoError(t, err)
			_, err = own.Stream(t.Context(), stream.Events)
			require.ErrorIs(t, err, jetstream.ErrStreamNotFound)
		})
	}
}

// whole runs a process until the test ends.
func whole(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	t.Cleanup(func() {
		stop()
		require.NoError(t, <-done)
	})
}

// insertOne makes a tenant with a webhook and inserts an event.
func insertOne(t *testing.T, url, receiver string) events.ID {
	t.Helper()
	pool := pgtest.Open(t, url)
	tenant, err := tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	_, _, err = subscribers.NewStore(pool, subscribers.Limits{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}).
		Create(t.Context(), tenant.ID, subscribers.Webhook{URL: receiver, Events: []events.Type{"email.received"}, Enabled: true})
	require.NoError(t, err)
	var id events.ID
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
		id, err = outbox.Insert(t.Context(), tx, events.Event{TenantID: tenant.ID, Type: "email.received", Data: json.RawMessage(`{}`)})
		return err
	}))
	return id
}
