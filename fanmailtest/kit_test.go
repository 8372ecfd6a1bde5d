package fanmailtest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail"
	"github.com/fanmail-dev/fanmail/fanmailtest"
)

func TestTheReceiverHandsOutWhatVerified(t *testing.T) {
	t.Parallel()
	kit := fanmailtest.New(t)
	kit.CreateWebhook(t, "email.received")
	var id fanmail.EventID
	require.NoError(t, pgx.BeginFunc(t.Context(), kit.Pool, func(tx pgx.Tx) (err error) {
		id, err = fanmail.Insert(t.Context(), tx, fanmail.Event{
			TenantID: kit.Tenant.ID, Type: "email.received", Data: json.RawMessage(`{"subject":"hello"}`),
		})
		return err
	}))
	kit.Tick(t)
	got := kit.Receiver.Requests()
	require.Len(t, got, 1)
	require.Equal(t, id.String(), got[0].EventID)
	require.Equal(t, 1, got[0].Attempt)
	require.JSONEq(t, `{"subject":"hello"}`, string(got[0].Data))
}

// TestAForgedRequestIsRefused uses Start: New would fail this test, which is what
// Err is for.
func TestAForgedRequestIsRefused(t *testing.T) {
	t.Parallel()
	kit, err := fanmailtest.Start(t.Context())
	require.NoError(t, err)
	defer func() { require.NoError(t, kit.Close()) }()
	kit.CreateWebhook(t, "email.received")
	require.NoError(t, kit.Receiver.Err())
	for path, want := range map[string]string{"/": "POST /:", "/unknown": "no webhook of the kit leads to this path"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, kit.Receiver.URL(path), strings.NewReader(`{}`))
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusBadRequest, res.StatusCode)
		require.ErrorContains(t, kit.Receiver.Err(), want)
	}
	require.Empty(t, kit.Receiver.Requests())
}
