package fanmail_test

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
)

// ofADeletedTenant are the calls that take a tenant and change none, or that deliver what was accepted before.
var ofADeletedTenant = []string{
	"GetWebhook", "ListWebhooks", "GetAgent", "ListAgents", "GetEvent", "ListEvents", "EventMatches", "GetDelivery", "ListDeliveries", "ListAllDeliveries",
	"ListAgentDeliveries", "GetMessageDelivery", "GetReplay", "ListReplays", "PreviewReplay", "GetEventType", "ListEventTypes", "CheckEvent", "GetStats",
	"Poll", "Ack", "DeliverMessage",
}

// TestADeletedTenantIsNotChanged calls each method of the client that takes a tenant, so that a new one is refused too, or
// is listed above.
func TestADeletedTenantIsNotChanged(t *testing.T) {
	t.Parallel()
	pool, c, tenant := acme(t)
	_, err := tenancy.Delete(t.Context(), pool, tenant.ID)
	require.NoError(t, err)
	require.NoError(t, outbox.Close(t.Context(), pool, tenant.ID))
	client, called := reflect.ValueOf(c), 0
	for i := range client.NumMethod() {
		name, method := client.Type().Method(i).Name, client.Method(i)
		in := []reflect.Value{reflect.ValueOf(t.Context())}
		takes := false
		for n := 1; n < method.Type().NumIn(); n++ {
			v := reflect.New(method.Type().In(n)).Elem()
			if v.Type() == reflect.TypeFor[fanmail.TenantID]() {
				v.Set(reflect.ValueOf(tenant.ID))
				takes = true
			} else if v.Kind() == reflect.Struct {
				if f := v.FieldByName("TenantID"); f.IsValid() && v.Type() != reflect.TypeFor[fanmail.Event]() && v.Type() != reflect.TypeFor[fanmail.Agent]() {
					f.Set(reflect.ValueOf(tenant.ID))
					takes = true
				}
			}
			in = append(in, v)
		}
		if !takes || slices.Contains(ofADeletedTenant, name) {
			continue
		}
		called++
		out := method.Call(in)
		err, _ := out[len(out)-1].Interface().(error)
		var refused *fanmail.DeletedTenantError
		require.ErrorAs(t, err, &refused, name)
		require.Equal(t, tenant.ID, refused.TenantID, name)
	}
	require.Greater(t, called, 15)

	insert := func() error {
		return pgx.BeginFunc(context.Background(), pool, func(tx pgx.Tx) error {
			_, err := fanmail.Insert(t.Context(), tx, fanmail.Event{TenantID: tenant.ID, Type: received, Data: json.RawMessage(`{}`)})
			return err
		})
	}
	var refused *fanmail.DeletedTenantError
	require.ErrorAs(t, insert(), &refused)
	require.NoError(t, outbox.Reopen(t.Context(), pool, tenant.ID))
	require.NoError(t, insert())
}
