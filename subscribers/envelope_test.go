package subscribers_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestAnOlderEnvelopeHasAnEnd(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	tenant, err := tenancy.Create(t.Context(), pool, tenancy.NewTenant{Name: "acme"})
	require.NoError(t, err)
	store := subscribers.NewStore(pool, subscribers.Limits{})
	hook := subscribers.Webhook{URL: "https://hooks.example.com/", Events: []events.Type{events.EmailReceived}, Enabled: true, Envelope: subscribers.EnvelopeV04}
	made, _, err := store.Create(t.Context(), tenant.ID, hook)
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(subscribers.EnvelopePeriod), *made.EnvelopeUntil, time.Hour, "by default")

	registry := subscribers.NewRegistry(pool, nil, nil)
	old := func() bool {
		t.Helper()
		require.NoError(t, registry.Load(t.Context()))
		return registry.Get(made.ID).OldEnvelope(time.Now().Add(time.Hour))
	}
	require.True(t, old())
	soon := time.Now().Add(time.Minute)
	changed, err := store.Update(t.Context(), tenant.ID, made.ID, subscribers.Patch{EnvelopeUntil: &soon})
	require.NoError(t, err)
	require.Equal(t, subscribers.EnvelopeV04, changed.Envelope)
	require.False(t, old(), "it ends by itself, and the registry hears of a change")

	changed, err = store.Update(t.Context(), tenant.ID, made.ID, subscribers.Patch{Envelope: new("")})
	require.NoError(t, err)
	require.Nil(t, changed.EnvelopeUntil)
	for field, wrong := range map[string]subscribers.Patch{
		"envelope":       {Envelope: new("v0.3")},
		"envelope_until": {EnvelopeUntil: &soon}, // it has no older envelope any more
	} {
		_, err := store.Update(t.Context(), tenant.ID, made.ID, wrong)
		var fault *events.FieldError
		require.ErrorAs(t, err, &fault)
		require.Equal(t, field, fault.Field)
	}
	for _, until := range []time.Time{time.Now().Add(-time.Minute), time.Now().Add(subscribers.MaxEnvelopePeriod + time.Hour)} {
		_, err := store.Update(t.Context(), tenant.ID, made.ID, subscribers.Patch{Envelope: new(subscribers.EnvelopeV04), EnvelopeUntil: &until})
		require.ErrorContains(t, err, "within the next 366 days")
	}
	changed, err = store.Update(t.Context(), tenant.ID, made.ID, subscribers.Patch{Description: new("x")})
	require.NoError(t, err)
	require.Empty(t, changed.Envelope)
}
