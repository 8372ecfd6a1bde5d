package eventschema

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestATenantHasFewComparisonsWaiting(t *testing.T) {
	t.Parallel()
	one, other := events.NewRandom[events.TenantKind](), events.NewRandom[events.TenantKind]()
	c := NewChecker(true)
	running, err := c.turn(t.Context(), one)
	require.NoError(t, err)
	ended := make(chan error)
	waits := func(ctx context.Context, tenant events.TenantID) {
		release, err := c.turn(ctx, tenant)
		if err == nil {
			release()
		}
		ended <- err
	}
	for range MaxWaiting - 1 {
		go waits(t.Context(), one)
	}
	require.Eventually(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.waiting[one] == MaxWaiting }, time.Minute, time.Millisecond)
	_, err = c.turn(t.Context(), one)
	require.ErrorIs(t, err, ErrBusy)
	gone, leave := context.WithCancel(t.Context())
	go waits(gone, other)
	require.Eventually(t, func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.waiting[other] == 1 }, time.Minute, time.Millisecond)
	leave()
	require.ErrorIs(t, <-ended, context.Canceled, "it waits as long as its caller")
	running()
	for range MaxWaiting - 1 {
		require.NoError(t, <-ended)
	}
	require.Empty(t, c.waiting)
}

func TestAListTakesFewHeavyComparisonsOfATenant(t *testing.T) {
	t.Parallel()
	pool := pgtest.Pool(t)
	c := NewChecker(false)
	schema := `{"properties":{"a":{"items":{"allOf":[` + strings.Repeat(`{"type":"string"},`, 899) + `{"type":"string"}]}}}}`
	verified, err := c.Verify(t.Context(), eventtype.Type{Name: "order.created", Schema: json.RawMessage(schema)})
	require.NoError(t, err)
	_, err = Define(t.Context(), pool, verified)
	require.NoError(t, err)
	var list []events.Event
	add := func(tenant events.TenantID, items int) {
		list = append(list, events.Event{TenantID: tenant, Type: "order.created", Data: json.RawMessage(`{"a":[` + strings.Repeat(`"x",`, items) + `"x"]}`)})
	}
	for range 6 {
		tenant := events.NewRandom[events.TenantKind]()
		add(tenant, 150)
		add(tenant, 150)
		add(tenant, 1)
		add(tenant, 300) // more than any comparison may take: refused at once
	}
	faults, err := c.Check(t.Context(), pool, list)
	require.NoError(t, err)
	var fit, later int
	for i, fault := range faults {
		switch {
		case i%4 == 3:
			require.ErrorContains(t, fault, "the limit is 250000")
		case errors.Is(fault, ErrLater):
			require.NotEqual(t, 2, i%4, "a light one has no turn to wait for")
			later++
		default:
			require.NoError(t, fault)
			fit++
		}
	}
	require.Equal(t, 6+6, fit, "the light ones, and one of each tenant")
	require.Equal(t, 6, later)
	faults, err = c.Check(t.Context(), pool, list[1:2])
	require.NoError(t, err)
	require.NoError(t, faults[0], "one alone always has its turn")
}
