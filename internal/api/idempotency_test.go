package api_test

import (
	"context"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

func TestARequestWithAKeyTakesEffectOnce(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c, other := w.tenant(), w.tenant()
	hook := map[string]any{"url": hookURL, "events": []string{"email.sent"}}
	first := c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k1").want(t, 201)
	again := c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k1").want(t, 201)
	require.Equal(t, string(first.raw), string(again.raw), "including the secret")
	require.NotEmpty(t, again.text("signing_secret"))
	require.Empty(t, first.header.Get("Idempotent-Replayed"))
	require.Equal(t, "true", again.header.Get("Idempotent-Replayed"))
	require.Equal(t, first.header.Get("Content-Type"), again.header.Get("Content-Type"))
	require.Len(t, c.do("GET", "/v1/webhooks", nil).ids(t, "id"), 1)

	// A request with the same key and another body or path.
	c.do("POST", "/v1/webhooks", map[string]any{"url": hookURL, "events": []string{"email.received"}}, "Idempotency-Key", "k1").
		want(t, 422).names(t, "header.Idempotency-Key")
	c.do("POST", "/v1/webhooks/"+first.text("id")+"/rotate-secret", nil, "Idempotency-Key", "k1").want(t, 422)
	c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "ü").want(t, 422).names(t, "header.Idempotency-Key")

	// Two tenants can use the same key.
	theirs := other.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k1").want(t, 201)
	require.NotEqual(t, first.text("id"), theirs.text("id"))

	rotated := c.do("POST", "/v1/webhooks/"+first.text("id")+"/rotate-secret", nil, "Idempotency-Key", "k2").want(t, 200)
	require.Equal(t, string(rotated.raw), string(c.do("POST", "/v1/webhooks/"+first.text("id")+"/rotate-secret", nil, "Idempotency-Key", "k2").want(t, 200).raw))
	event := map[string]any{"type": "email.sent", "data": map[string]any{}}
	one := c.do("POST", "/v1/events", event, "Idempotency-Key", "k3").want(t, 202).text("id")
	require.Equal(t, one, c.do("POST", "/v1/events", event, "Idempotency-Key", "k3").want(t, 202).text("id"))
	made := w.operator.do("POST", "/v1/tenants", map[string]any{"name": "n"}, "Idempotency-Key", "k").want(t, 201).text("id")
	require.Equal(t, made, w.operator.do("POST", "/v1/tenants", map[string]any{"name": "n"}, "Idempotency-Key", "k").want(t, 201).text("id"))

	// After 24 hours the key is free.
	_, err := w.pool.Exec(ctx, `UPDATE fanmail.idempotency_keys SET created_at = created_at - interval '24 hours 1 second'`)
	require.NoError(t, err)
	_, err = retention.Run(ctx, w.pool, api.RetentionRules(0))
	require.NoError(t, err)
	var kept int
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.idempotency_keys`).Scan(&kept))
	require.Zero(t, kept)
	later := c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k1").want(t, 201)
	require.NotEqual(t, first.text("id"), later.text("id"))
	require.Equal(t, string(later.raw), string(c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k1").want(t, 201).raw))
	_, err = retention.Run(ctx, w.pool, api.RetentionRules(0))
	require.NoError(t, err)
	require.NoError(t, w.pool.QueryRow(ctx, `SELECT count(*) FROM fanmail.idempotency_keys`).Scan(&kept))
	require.Equal(t, 1, kept, "a response is stored for 24 hours")
}

func TestAFailedRequestLeavesItsKeyFree(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	c.do("POST", "/v1/agents", map[string]any{"address": "no address"}, "Idempotency-Key", "k").want(t, 422)
	made := c.do("POST", "/v1/agents", map[string]any{"address": "a@example.com"}, "Idempotency-Key", "k").want(t, 201)
	c.do("POST", "/v1/agents", map[string]any{"address": "a@example.com"}).want(t, 409)
	require.Equal(t, string(made.raw), string(c.do("POST", "/v1/agents", map[string]any{"address": "a@example.com"}, "Idempotency-Key", "k").want(t, 201).raw))
}

func TestWhileARequestRunsItsKeyIsAConflict(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := start(t)
	c := w.tenant()
	hook := map[string]any{"url": hookURL, "events": []string{"email.sent"}}
	// Hold the lock that the first request needs.
	tx, err := w.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, `SELECT 1 FROM fanmail.tenants FOR UPDATE`)
	require.NoError(t, err)
	first := make(chan *answer, 1)
	go func() { first <- c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k") }()
	waiting(t, w, 1)
	a := c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k").want(t, 409)
	require.Equal(t, "1", a.header.Get("Retry-After"))
	require.NoError(t, tx.Rollback(ctx))
	require.Equal(t, 201, (<-first).status)
	c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k").want(t, 201)
	require.Len(t, c.do("GET", "/v1/webhooks", nil).ids(t, "id"), 1)
}

func TestAStoredResponseIsForItsAPIKeyAlone(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	made := c.do("POST", "/v1/keys", map[string]any{"name": "second"}, "Idempotency-Key", "k1").want(t, 201)
	second := client{w: w, tenantID: c.tenantID, key: made.text("secret")}
	hook := map[string]any{"url": hookURL, "events": []string{"email.sent"}}
	first := c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k2").want(t, 201)
	theirs := second.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k2").want(t, 422)
	theirs.names(t, "header.Idempotency-Key")
	require.Contains(t, theirs.text("detail"), "another API key")
	require.Len(t, c.do("GET", "/v1/webhooks", nil).ids(t, "id"), 1, "and it takes no effect twice")
	operator := w.operator.do("POST", "/v1/keys", map[string]any{"name": "another operator"}, "Idempotency-Key", "k").want(t, 201)
	another := client{w: w, key: operator.text("secret")}
	another.do("POST", "/v1/keys", map[string]any{"name": "another operator"}, "Idempotency-Key", "k").want(t, 422)
	c.do("POST", "/v1/webhooks/"+first.text("id")+"/rotate-secret", nil, "Idempotency-Key", "k3").want(t, 200)

	// The rows hold no secret, whichever way they are written.
	rows, err := w.pool.Query(context.Background(), `SELECT response, i::text FROM fanmail.idempotency_keys i`)
	require.NoError(t, err)
	defer rows.Close()
	n := 0
	for rows.Next() {
		var response []byte
		var row string
		require.NoError(t, rows.Scan(&response, &row))
		n++
		for _, secret := range []string{made.text("secret"), first.text("signing_secret"), operator.text("secret"), "whsec_", tenancy.KeyPrefix, hookURL} {
			require.NotContains(t, string(response), secret)
			require.NotContains(t, row, secret)
			require.NotContains(t, row, hex.EncodeToString([]byte(secret)))
		}
	}
	require.NoError(t, rows.Err())
	require.Equal(t, 4, n)
}

func TestAStoredResponseCannotBeMovedToAnotherRow(t *testing.T) {
	t.Parallel()
	w := start(t)
	c := w.tenant()
	hook := map[string]any{"url": hookURL, "events": []string{"email.sent"}}
	c.do("POST", "/v1/webhooks", hook, "Idempotency-Key", "k1").want(t, 201)
	c.do("POST", "/v1/agents", map[string]any{"address": "a@example.com"}, "Idempotency-Key", "k2").want(t, 201)
	_, err := w.pool.Exec(context.Background(), `UPDATE fanmail.idempotency_keys SET response =
		(SELECT response FROM fanmail.idempotency_keys WHERE key = 'k1') WHERE key = 'k2'`)
	require.NoError(t, err)
	c.do("POST", "/v1/agents", map[string]any{"address": "a@example.com"}, "Idempotency-Key", "k2").want(t, 500)
}
