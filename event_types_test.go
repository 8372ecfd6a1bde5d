package fanmail_test

import (
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

func TestAProgramMakesOwnTypesAndInsertsTheirEvents(t *testing.T) {
	t.Parallel()
	pool, c, tenant := acme(t)
	ctx := t.Context()
	other, err := c.CreateTenant(ctx, "other")
	require.NoError(t, err)
	own := fanmail.OwnType{TenantID: tenant.ID, Name: "order.created", Schema: json.RawMessage(`{ "required": ["id"] }`), Sample: json.RawMessage(`{"id":1}`)}
	made, err := c.CreateEventType(ctx, own)
	require.NoError(t, err)
	require.JSONEq(t, `{"required":["id"]}`, string(made.Schema))
	_, err = c.CreateEventType(ctx, own)
	require.ErrorIs(t, err, fanmail.ErrTypeExists)
	_, err = c.CreateEventType(ctx, fanmail.OwnType{Name: "email.eaten"})
	var field *fanmail.FieldError
	require.ErrorAs(t, err, &field)
	shared, err := c.CreateEventType(ctx, fanmail.OwnType{Name: "billing.due"})
	require.NoError(t, err)
	require.True(t, shared.TenantID.IsZero())

	event := fanmail.Event{TenantID: tenant.ID, Type: "order.created", Data: json.RawMessage(`{}`)}
	require.ErrorAs(t, c.CheckEvent(ctx, event), &field)
	require.Equal(t, "data", field.Field)
	require.NoError(t, c.CheckEvent(ctx, fanmail.Event{TenantID: tenant.ID, Type: "email.sent", Data: json.RawMessage(`{}`)}))
	var unknown *fanmail.UnknownTypeError
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// A type that is made in the transaction counts there.
		_, err := tx.Exec(ctx, `INSERT INTO fanmail.event_types (tenant_id, name) VALUES ($1, 'order.paid')`, tenant.ID)
		require.NoError(t, err)
		_, err = fanmail.Insert(ctx, tx, event)
		require.NoError(t, err, "data is not compared with the schema")
		for _, typ := range []fanmail.EventType{"order.paid", "billing.due", "email.sent"} {
			_, err = fanmail.Insert(ctx, tx, fanmail.Event{TenantID: tenant.ID, Type: typ, Data: json.RawMessage(`{}`)})
			require.NoError(t, err)
		}
		_, err = fanmail.Insert(ctx, tx, fanmail.Event{TenantID: other.ID, Type: "order.created", Data: json.RawMessage(`{}`)})
		require.ErrorAs(t, err, &unknown, "another tenant's type")
		_, err = outbox.InsertMany(ctx, tx, []fanmail.Event{event, {TenantID: tenant.ID, Type: "order.lost", Data: json.RawMessage(`{}`)}})
		require.ErrorAs(t, err, &unknown)
		_, err = fanmail.Insert(ctx, tx, event)
		return err // the transaction is usable after a refusal
	})
	require.NoError(t, err)
	found, _, err := c.ListEvents(ctx, tenant.ID, fanmail.EventFilter{Type: "order.created"}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, found, 2)

	hook, err := c.CreateWebhook(ctx, tenant.ID, fanmail.Webhook{URL: "https://hooks.example.com/", Events: []fanmail.EventType{"order.created"}})
	require.NoError(t, err)
	var used *fanmail.TypeInUseError
	require.ErrorAs(t, c.DeleteEventType(ctx, tenant.ID, "order.created"), &used)
	require.Equal(t, []fanmail.WebhookID{hook.ID}, used.Webhooks)
	require.NoError(t, c.DeleteWebhook(ctx, tenant.ID, hook.ID))
	require.NoError(t, c.DeleteEventType(ctx, tenant.ID, "order.created"))
	require.ErrorIs(t, c.DeleteEventType(ctx, tenant.ID, "order.created"), fanmail.ErrNotFound)
	made.Deprecated, made.Name = true, "order.paid"
	changed, err := c.ChangeEventType(ctx, made)
	require.NoError(t, err)
	require.True(t, changed.Deprecated)
	list, err := c.ListEventTypes(ctx, tenant.ID, "", 10)
	require.NoError(t, err)
	require.Equal(t, []fanmail.EventType{"billing.due", "order.paid"}, []fanmail.EventType{list[0].Name, list[1].Name})
	_, err = c.GetEventType(ctx, other.ID, "order.paid")
	require.ErrorIs(t, err, fanmail.ErrNotFound)
}

// BenchmarkInsertOfATypeWithALookUp shows what an own type costs a program's transaction beside a built-in one.
func BenchmarkInsertOfATypeWithALookUp(b *testing.B) {
	pool := pgtest.Pool(b)
	c, err := fanmail.New(pool, nil, fanmail.Config{})
	require.NoError(b, err)
	tenant, err := c.CreateTenant(b.Context(), "acme")
	require.NoError(b, err)
	_, err = c.CreateEventType(b.Context(), fanmail.OwnType{TenantID: tenant.ID, Name: "order.created"})
	require.NoError(b, err)
	for _, typ := range []fanmail.EventType{"email.sent", "order.created"} {
		b.Run(string(typ), func(b *testing.B) {
			for b.Loop() {
				require.NoError(b, pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error {
					_, err := fanmail.Insert(b.Context(), tx, fanmail.Event{TenantID: tenant.ID, Type: typ, Data: json.RawMessage(`{}`)})
					return err
				}))
			}
		})
	}
}
