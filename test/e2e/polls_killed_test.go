package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// polledDelivery is a delivery in the response to a poll.
type polledDelivery struct {
	DeliveryID   string `json:"delivery_id"`
	Attempt      int    `json:"attempt"`
	PolledBefore bool   `json:"polled_before"`
}

// secondAPI starts a second process of the API, and returns the rig that asks it.
func (r *rig) secondAPI(ctx context.Context) *rig {
	r.t.Helper()
	spec, health := r.running["api"].Spec, freeAddr(r.t)
	second := *r
	second.api = freeAddr(r.t)
	spec.Name, spec.Ready = "second", "http://"+health+"/readyz"
	spec.Env = append(slices.Clone(spec.Env), "FANMAIL_API_ADDR="+second.api, "FANMAIL_HTTP_ADDR="+health)
	r.start(ctx, spec)
	return &second
}

// TestDeliveriesWhosePollIsKilledArePolledAgain kills an API process between the lease and the answer to the poll, and the
// other one between the answer and the acknowledgement.
func TestDeliveriesWhosePollIsKilledArePolledAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 8*time.Minute, errors.New("the test of killed polls took too long"))
	t.Cleanup(cancel)
	const n, held = 40, 25
	r := newRig(ctx, t)
	second := r.secondAPI(ctx)
	var made struct{ ID, Secret string }
	operator := r.operatorKey(ctx)
	r.call(ctx, operator, http.MethodPost, "/v1/tenants", map[string]any{"name": "acme"}, &made)
	r.call(ctx, operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": made.ID}, &made)
	key := made.Secret
	r.call(ctx, key, http.MethodPost, "/v1/webhooks", map[string]any{"kind": "pull", "events": []string{"email.sent"}}, &made)
	hook := "/v1/webhooks/" + made.ID
	for i := range n {
		r.call(ctx, key, http.MethodPost, "/v1/events", map[string]any{"type": "email.sent", "data": map[string]any{"n": i}}, nil)
	}
	pending := `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending'`
	require.Eventually(t, func() bool { return r.count(ctx, pending) == n }, time.Minute, 10*time.Millisecond)

	// The lease is committed, and the envelopes can't be read.
	lock, err := r.pool.Begin(ctx)
	require.NoError(t, err)
	_, err = lock.Exec(ctx, `LOCK TABLE fanmail.events IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	lost := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s%s/poll?limit=%d&lease=3", r.api, hook, held), nil)
		if err == nil {
			req.Header.Set("Authorization", "Bearer "+key)
			var resp *http.Response
			if resp, err = http.DefaultClient.Do(req); err == nil {
				_ = resp.Body.Close()
			}
		}
		lost <- err
	}()
	require.Eventually(t, func() bool { return r.count(ctx, pending+` AND leased`) == held }, time.Minute, 10*time.Millisecond)
	again := map[string]bool{}
	r.crash(ctx, "api", func() {
		require.Error(t, <-lost, "the consumer has no answer")
		require.NoError(t, lock.Rollback(ctx))
		for all := map[string]bool{}; len(all) < n; {
			var polled struct{ Data []polledDelivery }
			second.call(ctx, key, http.MethodGet, hook+"/poll?wait=30&lease=60", nil, &polled)
			for _, d := range polled.Data {
				require.Equal(t, 1, d.Attempt, "a lease that ran out is no attempt")
				require.False(t, all[d.DeliveryID], "it is in one hand")
				all[d.DeliveryID] = true
				again[d.DeliveryID] = d.PolledBefore
			}
		}
	})
	before := 0
	for _, was := range again {
		if was {
			before++
		}
	}
	require.Equal(t, held, before, "those whose answer was lost have been polled before")

	// The consumer has them, and its acknowledgement reaches nobody.
	r.running["second"].Kill()
	_, err = r.pool.Exec(ctx, `UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE status = 'pending' AND leased`) // a minute later
	require.NoError(t, err)
	for done := 0; done < n; {
		var polled struct{ Data []polledDelivery }
		r.call(ctx, key, http.MethodGet, hook+"/poll?wait=30&limit=15", nil, &polled)
		ids := []string{}
		for _, d := range polled.Data {
			require.True(t, d.PolledBefore)
			ids = append(ids, d.DeliveryID)
		}
		if len(ids) > 0 {
			r.call(ctx, key, http.MethodPost, hook+"/ack", map[string]any{"delivery_ids": ids}, nil)
		}
		done += len(ids)
	}
	require.Equal(t, n, r.count(ctx, `SELECT count(*) FROM fanmail.webhook_subscriber_deliveries WHERE status = 'delivered' AND attempts = 1`))
	require.Zero(t, r.count(ctx, pending))
}
