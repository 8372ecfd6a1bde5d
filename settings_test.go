package fanmail_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/fanmailtest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// A program has no variables to set: errors name the option of Config, or the function to call.
func TestErrorsNameTheOptionsOfAProgram(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	ctx := t.Context()
	strict, err := fanmail.New(kit.Pool, nil, fanmail.Config{})
	require.NoError(t, err)
	for url, option := range map[string]string{
		"http://example.com/":       "(Config.AllowHTTP)",
		"https://example.com:25/":   "(Config.AllowPorts)",
		"https://127.0.0.1/":        "(Config.AllowNetworks)",
		"https://localhost/":        "(Config.AllowNetworks)",
		"https://169.254.169.254/x": "(Config.AllowNetworks)",
	} {
		_, err := strict.CreateWebhook(ctx, kit.Tenant.ID, fanmail.Webhook{URL: url, Events: []fanmail.EventType{"email.sent"}})
		require.ErrorContains(t, err, option, url)
		require.NotContains(t, err.Error(), "FANMAIL_")
		_, err = strict.CreateAgent(ctx, kit.Tenant.ID, "a@example.com", url)
		require.ErrorContains(t, err, option, url)
	}
	_, err = fanmail.New(kit.Pool, nil, fanmail.Config{SecretsKey: "gcp-kms://x"})
	require.ErrorContains(t, err, "Config.SecretsKey")
	require.NotContains(t, err.Error(), "FANMAIL_")

	// What is stored of an attempt, too.
	loose, err := fanmail.New(kit.Pool, nil, fanmail.Config{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	require.NoError(t, err)
	hook, err := loose.CreateWebhook(ctx, kit.Tenant.ID, fanmail.Webhook{URL: kit.Receiver.URL("/in"), Events: []fanmail.EventType{"email.sent"}})
	require.NoError(t, err)
	require.NoError(t, pgx.BeginFunc(ctx, kit.Pool, func(tx pgx.Tx) error {
		_, err := fanmail.Insert(ctx, tx, fanmail.Event{TenantID: kit.Tenant.ID, Type: "email.sent", Data: json.RawMessage(`{}`)})
		return err
	}))
	require.NoError(t, strict.Tick(ctx))
	found, _, err := strict.ListDeliveries(ctx, kit.Tenant.ID, hook.ID, fanmail.DeliveryFilter{}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, found[0].LastError, "(Config.AllowHTTP)")
}

func TestAMissingSchemaNamesTheFunctionToCall(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	_, err := pool.Exec(t.Context(), `DROP SCHEMA fanmail CASCADE`)
	require.NoError(t, err)
	c, err := fanmail.New(pool, nil, fanmail.Config{})
	require.NoError(t, err)
	err = c.Tick(t.Context())
	require.ErrorContains(t, err, "call fanmail.Migrate")
	require.NotContains(t, err.Error(), "FANMAIL_")
	require.NoError(t, fanmail.Migrate(t.Context(), pool))
	require.NoError(t, c.Tick(t.Context()))
}

func TestAClientKeepsSecretsFromAnotherOrigin(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	ctx := t.Context()
	hook, err := kit.Client.CreateWebhook(ctx, kit.Tenant.ID, fanmail.Webhook{
		URL: "https://hooks.example.com/", Events: []fanmail.EventType{"email.sent"}, Headers: map[string]string{"X-Secret": "hunter2"},
		Auth: &fanmail.Auth{Type: fanmail.AuthOAuth2, TokenURL: "https://tokens.example.com/", ClientID: "me", ClientSecret: "hunter2"},
	})
	require.NoError(t, err)
	away, masked, anew := "https://away.example.com/", map[string]string{"X-Secret": fanmail.Masked}, map[string]string{"X-Secret": "n"}
	kept := *hook.Auth
	moved := kept
	moved.TokenURL = away
	given := moved
	given.ClientSecret = "n"
	for _, change := range []fanmail.WebhookChange{
		{URL: &away}, {URL: &away, Headers: &masked, Auth: &given}, {URL: &away, Headers: &anew}, {URL: &away, Headers: &anew, Auth: &kept}, {Auth: &moved},
	} {
		_, err := kit.Client.ChangeWebhook(ctx, kit.Tenant.ID, hook.ID, change)
		var field *fanmail.FieldError
		require.ErrorAs(t, err, &field)
		require.ErrorContains(t, err, "another scheme, host or port")
	}
	_, err = kit.Client.ChangeWebhook(ctx, kit.Tenant.ID, hook.ID, fanmail.WebhookChange{URL: &away, Headers: &anew, Auth: &given})
	require.NoError(t, err)
}
