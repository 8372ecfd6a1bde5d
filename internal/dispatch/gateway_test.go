package dispatch_test

import (
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/webhookrequest"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/sink"
)

// TestAWebhooksOwnPolicyIsFollowed reads the waits from the row, for a webhook that gets
// its rows in parallel and for a strict one.
func TestAWebhooksOwnPolicyIsFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.dispatcher()
	r.relay()
	store := subscribers.NewStore(r.pool, subscribers.Limits{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	jitter := 0.0
	for path, ordering := range map[string]subscribers.Ordering{"/none": subscribers.OrderingNone, "/strict": subscribers.OrderingStrict} {
		r.sink.Script(path, sink.Status(http.StatusInternalServerError))
		brought := signature.NewSecret()
		r.sink.Secret(path, brought)
		made, secret, err := store.Create(t.Context(), r.tenant, subscribers.Webhook{
			URL: r.sink.URL(path), Events: []events.Type{subscribers.EveryType}, Enabled: true, Ordering: ordering, SigningSecret: brought, Ed25519: true,
			Timeout: subscribers.MaxTimeout, Headers: map[string]string{"x-api-key": "key"},
			Filters: subscribers.Filters{Labels: []string{path}},
			Retry:   &subscribers.Retry{Type: subscribers.RetryList, Delays: []time.Duration{90 * time.Second, 2 * time.Hour}, Jitter: &jitter, Final: []int{422}},
		})
		require.NoError(t, err)
		require.Equal(t, brought, secret)
		require.NoError(t, r.nc.Publish(events.WakeWebhooks, nil))
		r.insert(1, func(_ int, e *events.Event) { e.Labels = []string{path} })
		v := r.until(made.ID, func(v row) bool { return v.Attempts == 1 })
		require.InDelta(t, 90, *v.NextIn, 1)
		r.makeDue(made.ID)
		v = r.until(made.ID, func(v row) bool { return v.Attempts == 2 })
		require.InDelta(t, 7200, *v.NextIn, 1)
		r.makeDue(made.ID)
		v = r.until(made.ID, func(v row) bool { return v.Finished })
		require.Equal(t, "failed", v.Status)
		require.Equal(t, 3, v.Attempts)

		// A retry on request gets the policy's attempts again, and a final code ends it.
		r.sink.Script(path, sink.Status(http.StatusUnprocessableEntity))
		list, _, err := store.ListDeliveries(t.Context(), r.tenant, made.ID, subscribers.DeliveryFilter{}, subscribers.Place{}, 1)
		require.NoError(t, err)
		again, err := store.Retry(t.Context(), r.tenant, list[0].ID)
		require.NoError(t, err)
		require.Equal(t, 6, again.MaxAttempts)
		r.wake(made.ID)
		v = r.until(made.ID, func(v row) bool { return v.Finished })
		require.Equal(t, 4, v.Attempts)
		require.Equal(t, http.StatusUnprocessableEntity, *v.Code)
		posts := r.sink.PostsTo(path)
		last := posts[len(posts)-1]
		require.Equal(t, "key", last.Header.Get("X-Api-Key"))
		require.Equal(t, "email.received", last.Header.Get(webhookrequest.HeaderEventType))
		require.Equal(t, events.SchemaVersion, last.Header.Get(webhookrequest.HeaderSchemaVersion))
		require.NoError(t, signature.Verify(made.PublicKey, last.Header, last.Body, last.At, 0))
	}
}
