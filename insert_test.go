package fanmail_test

import (
	"encoding/json"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// acme makes a client with a tenant.
func acme(t *testing.T) (*pgxpool.Pool, *fanmail.Client, fanmail.Tenant) {
	t.Helper()
	pool := pgtest.Pool(t)
	c, err := fanmail.New(pool, nil, fanmail.Config{})
	require.NoError(t, err)
	tenant, err := c.CreateTenant(t.Context(), "acme")
	require.NoError(t, err)
	return pool, c, tenant
}

func TestInsertNamesATypeThatItRefuses(t *testing.T) {
	t.Parallel()
	pool, c, tenant := acme(t)
	insert := func(typ fanmail.EventType, agent string) (id fanmail.EventID, err error) {
		err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			id, err = fanmail.Insert(t.Context(), tx, fanmail.Event{TenantID: tenant.ID, Type: typ, AgentID: agent, Data: json.RawMessage(`{}`)})
			return err
		})
		return id, err
	}
	var field *fanmail.FieldError
	var unknown *fanmail.UnknownTypeError
	_, err := insert("email.lost", "")
	require.ErrorAs(t, err, &unknown)
	require.Equal(t, fanmail.EventType("email.lost"), unknown.Type)
	require.ErrorAs(t, err, &field)
	require.Equal(t, "type", field.Field)
	_, err = insert("webhook.disabled", "")
	require.ErrorAs(t, err, &field)
	require.ErrorContains(t, err, "only Fanmail may produce")

	_, err = insert("order.created", "")
	require.ErrorAs(t, err, &unknown, "a type that nobody has made")
	require.Equal(t, fanmail.EventType("order.created"), unknown.Type)
	require.ErrorAs(t, err, &field)
	require.Equal(t, "type", field.Field)

	id, err := insert("email.received", "Robot@Example.COM")
	require.NoError(t, err)
	found, _, err := c.ListEvents(t.Context(), tenant.ID, fanmail.EventFilter{AgentID: "robot@EXAMPLE.com"}, fanmail.Cursor{}, 10)
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Equal(t, id, found[0].ID)
}

func TestAddressesOfAgentsFoldInEachCall(t *testing.T) {
	t.Parallel()
	_, c, tenant := acme(t)
	_, err := c.CreateAgent(t.Context(), tenant.ID, "Robot@Example.COM", "")
	require.NoError(t, err)
	a, err := c.GetAgent(t.Context(), tenant.ID, "ROBOT@example.com")
	require.NoError(t, err)
	require.Equal(t, "robot@example.com", a.Address)
	_, err = c.ChangeAgent(t.Context(), tenant.ID, "ROBOT@example.com", "https://example.com/x")
	require.NoError(t, err)
	require.NoError(t, c.DeleteAgent(t.Context(), tenant.ID, "ROBOT@example.com"))
}
