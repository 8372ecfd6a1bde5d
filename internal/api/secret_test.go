package api_test

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// TestNoSecretIsLogged makes the database reject rows with secrets, so that its
// error contains the row, and sends wrong requests with secrets.
func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	var logged strings.Builder
	w := start(t, func(o *api.Options) {
		// Log as the processes do, in lines of JSON, at all levels.
		o.Log = zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(zapcore.AddSync(&logged)), zap.DebugLevel))
	})
	c := w.tenant()
	made := c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.received"}}).want(t, 201)
	path := "/v1/webhooks/" + made.text("id")
	secrets := []string{c.key, w.operator.key, made.text("signing_secret"), c.do("POST", path+"/rotate-secret", nil).want(t, 200).text("signing_secret")}
	for _, s := range secrets {
		require.Greater(t, len(s), 20)
	}
	client{w: w, key: c.key + "x"}.do("GET", "/v1/webhooks", nil).want(t, 401)
	client{w: w, key: made.text("signing_secret")}.do("GET", "/v1/webhooks", nil).want(t, 401)
	c.do("GET", "/v1/webhooks/"+url.PathEscape(made.text("signing_secret")), nil).want(t, 422)
	for _, statement := range []string{
		`ALTER TABLE fanmail.webhooks ADD CONSTRAINT refuse CHECK (url <> 'https://hooks.example.com/refused')`,
		`ALTER TABLE fanmail.api_keys ADD CONSTRAINT refuse CHECK (name <> 'refused')`,
	} {
		_, err := w.pool.Exec(ctx, statement)
		require.NoError(t, err)
	}
	for _, a := range []*answer{
		c.do("PATCH", path, map[string]any{"url": "https://hooks.example.com/refused"}).want(t, 500),
		w.operator.do("POST", "/v1/keys", map[string]any{"tenant_id": c.tenantID, "name": "refused"}).want(t, 500),
	} {
		for _, s := range secrets {
			require.NotContains(t, string(a.raw), s)
		}
	}
	lines := strings.Split(strings.TrimSpace(logged.String()), "\n")
	require.Len(t, lines, 2, "each refused row is logged once: %s", logged.String())
	for _, line := range lines {
		require.True(t, json.Valid([]byte(line)))
		require.Contains(t, line, "refuse", "with its cause")
		for _, s := range append(secrets, "whsec_", tenancy.KeyPrefix) {
			require.NotContains(t, line, s)
		}
	}
}
