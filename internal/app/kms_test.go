package app

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/kmstest"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// TestAProcessWaitsForItsKMS starts a dispatcher while the KMS is away, and takes the KMS away again while it runs. It
// can't be parallel, because the AWS SDK reads the environment.
func TestAProcessWaitsForItsKMS(t *testing.T) {
	service := kmstest.Start(t)
	service.Use(t)
	c := Secrets{File: filepath.Join(t.TempDir(), UpKeyFile), KeyService: KeyService{KMS: service.NewKey()}}
	text, err := c.NewKeyset(t.Context())
	require.NoError(t, err)
	require.NoError(t, keyring.CreateFile(c.File, text))
	require.NoError(t, c.validate())
	keys, err := c.load(t.Context())
	require.NoError(t, err)

	arrived := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { arrived <- r.Header.Get("webhook-id") }))
	t.Cleanup(receiver.Close)
	url, broker := pgtest.URL(t), NATS{URL: secret.Text(natstest.URL(t))}
	pool := pgtest.Open(t, url)
	tenant, err := tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	out := Outbound{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	_, _, err = subscribers.NewStore(pool, subscribers.Limits{AllowHTTP: true, AllowNetworks: out.AllowNetworks}).WithKeyring(keys).
		Create(t.Context(), tenant.ID, subscribers.Webhook{URL: receiver.URL, Events: []events.Type{"email.received"}, Enabled: true})
	require.NoError(t, err)
	insert := func() (id events.ID) {
		require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) (err error) {
			id, err = outbox.Insert(t.Context(), tx, events.Event{TenantID: tenant.ID, Type: "email.received", Data: json.RawMessage(`{}`)})
			return err
		}))
		return id
	}
	arrives := func(id events.ID) {
		t.Helper()
		select {
		case got := <-arrived:
			require.Equal(t, id.String(), got)
		case <-time.After(patience):
			require.Fail(t, "the event did not arrive")
		}
	}

	doctor := func() (found Finding) {
		for _, f := range Diagnose(t.Context(), DoctorConfig{Database: Database{URL: secret.Text(url)}, NATS: broker, Secrets: c}) {
			if f.Check == secretsName {
				found = f
			}
		}
		return found
	}
	told := doctor()
	require.Equal(t, FindingOK, told.Status, told.Detail)
	require.Contains(t, told.Detail, c.KMS)

	service.Kill()
	told = doctor()
	require.Equal(t, FindingFail, told.Status)
	require.Contains(t, told.Fix, "AWS_ENDPOINT_URL_KMS")
	db, life := Database{URL: secret.Text(url)}, Lifecycle{HTTPAddr: "127.0.0.1:0", Drain: time.Second}
	config := DispatcherConfig{Database: db, NATS: broker, Lifecycle: life, Outbound: out, Secrets: c}
	running(t, func(ctx context.Context, l *zap.Logger) error {
		return RunPublisher(ctx, PublisherConfig{Database: db, NATS: broker, Lifecycle: life}, l)
	})
	base, _ := running(t, func(ctx context.Context, l *zap.Logger) error { return RunDispatcher(ctx, config, l) })
	first := insert()
	s := stands(t, base, http.StatusServiceUnavailable, readyNot, secretsName, withCode("kms away"))
	require.False(t, s.Permanent)
	require.Contains(t, s.Remedy, "AWS_ENDPOINT_URL_KMS")
	require.NotContains(t, s.Error, kmstest.SecretKey)
	require.Empty(t, arrived, "deliveries wait")
	status, _ := get(t, base+"/healthz")
	require.Equal(t, http.StatusOK, status, "it lives")

	service.Again()
	becomesReady(t, base)
	arrives(first)
	service.Kill()
	arrives(insert())
	becomesReady(t, base)

	// What waiting can't end stops the process, with what to do.
	service.Again()
	config.KMS = service.NewKey()
	err = RunDispatcher(t.Context(), config, zap.NewNop())
	require.ErrorContains(t, err, "set FANMAIL_SECRETS_KMS to the key that encrypted the keyset")
	config.KMS = ""
	require.ErrorContains(t, config.Validate(), "it is encrypted by a KMS")
	config.KMS, config.File = service.NewKey(), ""
	require.ErrorContains(t, config.Validate(), "FANMAIL_SECRETS_KEY_FILE")
}
