package fanmailtest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/testdb"
)

// Kit is a database, a broker, a client on both, a tenant, and a receiver.
type Kit struct {
	// DatabaseURL names the database, which has Fanmail's schema, and Pool is
	// connected to it.
	DatabaseURL string
	Pool        *pgxpool.Pool
	// NATS is connected to the broker.
	NATS *nats.Conn
	// Client may send to the loopback interface and over plain HTTP.
	Client *fanmail.Client
	Tenant fanmail.Tenant
	// Receiver answers the webhooks that [Kit.CreateWebhook] creates.
	Receiver *Receiver

	closers []func() error
}

// New starts a kit and closes it when the test ends. The test fails where a
// request to the receiver did not verify.
func New(t testing.TB) *Kit {
	t.Helper()
	kit, err := Start(context.Background())
	if err != nil {
		t.Fatalf("fanmailtest: %v", err)
	}
	t.Cleanup(func() {
		if err := kit.Receiver.Err(); err != nil {
			t.Errorf("fanmailtest: requests that did not verify: %v", err)
		}
		if err := kit.Close(); err != nil {
			t.Errorf("fanmailtest: %v", err)
		}
	})
	return kit
}

// Start starts a kit outside a test function, such as in TestMain or in an example.
// The caller closes it.
func Start(ctx context.Context) (*Kit, error) {
	k := &Kit{Receiver: newReceiver()}
	k.onClose(func() error { k.Receiver.Close(); return nil })
	if err := k.start(ctx); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

func (k *Kit) onClose(f func() error) { k.closers = append(k.closers, f) }

func (k *Kit) start(ctx context.Context) (err error) {
	server, err := testdb.Private()
	if err != nil {
		return fmt.Errorf("start Postgres: %w", err)
	}
	url, drop, err := server.Database(ctx)
	if err != nil {
		return err
	}
	k.DatabaseURL = url
	k.onClose(drop)
	if k.Pool, err = pgxpool.New(ctx, url); err != nil {
		return err
	}
	k.onClose(func() error { k.Pool.Close(); return nil })
	if err := k.startBroker(); err != nil {
		return err
	}
	k.Client, err = fanmail.New(k.Pool, k.NATS, fanmail.Config{
		AllowHTTP: true, AllowNetworks: Loopback(),
	})
	if err != nil {
		return err
	}
	k.Tenant, err = k.Client.CreateTenant(ctx, "test")
	return err
}

func (k *Kit) startBroker() error {
	dir, err := os.MkdirTemp("", "fanmail-test-nats-")
	if err != nil {
		return err
	}
	k.onClose(func() error { return os.RemoveAll(dir) })
	server, err := devserver.StartNATS(devserver.NATSOptions{Dir: dir})
	if err != nil {
		return fmt.Errorf("start NATS: %w", err)
	}
	k.onClose(func() error { server.Stop(); return nil })
	if k.NATS, err = nats.Connect(server.URL()); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	k.onClose(func() error { k.NATS.Close(); return nil })
	return nil
}

// Close stops all that the kit started, and drops its database.
func (k *Kit) Close() error {
	var errs []error
	for i := len(k.closers) - 1; i >= 0; i-- {
		errs = append(errs, k.closers[i]())
	}
	k.closers = nil
	return errors.Join(errs...)
}

// CreateWebhook creates a webhook of the kit's tenant to the receiver's path "/",
// which verifies its requests from then on.
func (k *Kit) CreateWebhook(t testing.TB, types ...fanmail.EventType) fanmail.Webhook {
	t.Helper()
	w, err := k.Webhook(context.Background(), fanmail.Webhook{Events: types}, "/")
	if err != nil {
		t.Fatalf("fanmailtest: create a webhook: %v", err)
	}
	return w
}

// Webhook creates a webhook with the given settings to a path of the receiver,
// which verifies its requests from then on.
func (k *Kit) Webhook(ctx context.Context, settings fanmail.Webhook, path string) (fanmail.Webhook, error) {
	settings.URL = k.Receiver.URL(path)
	w, err := k.Client.CreateWebhook(ctx, k.Tenant.ID, settings)
	if err == nil {
		k.Receiver.Verify(path, w.SigningSecret)
	}
	return w, err
}

// Tick calls [fanmail.Client.Tick]; the test ends where it fails.
func (k *Kit) Tick(t testing.TB) {
	t.Helper()
	if err := k.Client.Tick(context.Background()); err != nil {
		t.Fatalf("fanmailtest: %v", err)
	}
}

// Loopback are the networks of this machine alone, for
// [fanmail.Config.AllowNetworks].
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}
