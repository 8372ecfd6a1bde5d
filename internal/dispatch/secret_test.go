package dispatch_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/test/sink"
)

// One webhook is delivered to, one fails, one goes, and one has a secret that
// can't be read.
func TestNoSecretIsLoggedOrRecorded(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	core, logs := observer.New(zap.DebugLevel)
	r.log = zap.New(core)
	fine, failing, gone, broken := r.webhook("/fine"), r.webhook("/failing"), r.webhook("/gone"), r.webhook("/broken")
	r.sink.Script("/failing", sink.Status(http.StatusInternalServerError))
	r.sink.Script("/gone", sink.Status(http.StatusGone))
	const unreadable = "whsk_hunter2, not base64"
	r.exec(`UPDATE fanmail.webhooks SET signing_secret = $2 WHERE id = $1`, broken, unreadable)
	r.relay()
	stop := r.dispatcher()
	r.insert(1)
	r.until(fine, func(v row) bool { return v.Status == "delivered" })
	r.until(failing, func(v row) bool { return v.Attempts == 1 })
	r.until(gone, func(v row) bool { return v.Status == "failed" && v.Disabled })
	v := r.until(broken, func(v row) bool { return v.Attempts == 1 })
	require.Equal(t, "a signing secret is a text that is not empty; a key of Ed25519 is whpk_ or whsk_ followed by base64", *v.Error)
	stop()

	var secrets []string
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT array_agg(signing_secret) FROM fanmail.webhooks`).Scan(&secrets))
	require.Len(t, secrets, 4)
	written := fmt.Sprint(logs.All())
	var recorded string
	require.NoError(t, r.pool.QueryRow(context.Background(), `SELECT (SELECT string_agg(d::text, ' ') FROM fanmail.webhook_subscriber_deliveries AS d)
		|| (SELECT string_agg(a::text, ' ') FROM fanmail.webhook_delivery_attempts AS a)`).Scan(&recorded))
	for _, s := range secrets {
		require.NotContains(t, written, s)
		require.NotContains(t, recorded, s)
	}
	require.NotContains(t, written, "hunter2")
	require.NotContains(t, recorded, "hunter2")
}
