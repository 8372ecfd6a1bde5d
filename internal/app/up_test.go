package app

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/natstest"
	"github.com/fanmail-dev/fanmail/test/pgtest"
)

// up runs everything until stop is called, which reports the run's error.
func up(t *testing.T, c UpConfig) (creds Credentials, stop func() error) {
	t.Helper()
	c.APIAddr, c.SMTPAddr = "127.0.0.1:0", "127.0.0.1:0"
	ready := make(chan Credentials, 1)
	c.Ready = func(creds Credentials) { ready <- creds }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- RunUp(ctx, c, zap.NewNop()) }()
	stop = func() error {
		cancel()
		return <-done
	}
	select {
	case creds = <-ready:
	case err := <-done:
		require.NoError(t, err, "start")
	}
	return creds, stop
}

// worldDir is a directory that Postgres's user can walk to: that of t.TempDir
// is closed to it.
func worldDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanmail-up-") //nolint:usetesting // see above
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func TestUpKeepsItsDataAndItsKeysFromOneStartToTheNext(t *testing.T) {
	t.Parallel()
	dir := worldDir(t)
	first, stop := up(t, UpConfig{Dir: dir})
	path := filepath.Join(dir, "credentials.json")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var fields map[string]string
	require.NoError(t, json.Unmarshal(raw, &fields))
	require.Len(t, fields, 7)
	for _, name := range []string{"api", "operator_key", "tenant_id", "tenant_key", "smtp", "nats_url", "database_url"} {
		require.NotEmpty(t, fields[name], name)
	}
	api := &apiclient.Client{Base: first.API, Key: first.TenantKey}
	require.NoError(t, api.Do(t.Context(), http.MethodPost, "/v1/agents", nil, map[string]string{"address": "kept@fanmail.example"}, nil))
	require.ErrorContains(t, RunUp(t.Context(), UpConfig{Dir: dir, APIAddr: "127.0.0.1:0", SMTPAddr: "127.0.0.1:0"}, zap.NewNop()),
		"another `fanmail up` runs in "+dir)
	require.NoError(t, stop())

	second, stop := up(t, UpConfig{Dir: dir})
	require.Equal(t, first.OperatorKey, second.OperatorKey)
	require.Equal(t, first.TenantID, second.TenantID)
	require.Equal(t, first.TenantKey, second.TenantKey)
	api.Base = second.API
	require.NoError(t, api.Do(t.Context(), http.MethodGet, "/v1/agents/kept@fanmail.example", nil, nil, nil))
	require.NoError(t, stop())

	_, err = os.Stat(filepath.Join(dir, "postgres", "postmaster.pid"))
	require.ErrorIs(t, err, os.ErrNotExist, "no Postgres is left behind")
}

func TestUpMakesNewKeysWhereTheOldOnesAreOfAnotherDatabase(t *testing.T) {
	t.Parallel()
	c := UpConfig{Dir: t.TempDir(), DatabaseURL: secret.Text(pgtest.EmptyURL(t)), NATSURL: secret.Text(natstest.URL(t))}
	first, stop := up(t, c)
	require.Equal(t, c.DatabaseURL.Reveal(), first.DatabaseURL)
	require.Equal(t, c.NATSURL.Reveal(), first.NATSURL)
	require.NoError(t, stop())

	c.DatabaseURL = secret.Text(pgtest.EmptyURL(t))
	second, stop := up(t, c)
	require.NotEqual(t, first.OperatorKey, second.OperatorKey)
	require.NotEqual(t, first.TenantKey, second.TenantKey)
	require.NotEqual(t, first.TenantID, second.TenantID)
	operator := &apiclient.Client{Base: second.API, Key: second.OperatorKey}
	require.NoError(t, operator.Do(t.Context(), http.MethodGet, "/v1/tenants", nil, nil, nil))
	require.NoError(t, stop())

	// The file is lost, the database is not: the tenant is found again.
	require.NoError(t, os.Remove(filepath.Join(c.Dir, "credentials.json")))
	third, stop := up(t, c)
	require.Equal(t, second.TenantID, third.TenantID)
	require.NoError(t, stop())
}

func TestCredentialsAreThereOnlyWhileTheyAnswer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := ReadCredentials(dir)
	require.ErrorIs(t, err, os.ErrNotExist)
	want := Credentials{API: "http://127.0.0.1:1", OperatorKey: "o", TenantKey: "t"}
	require.NoError(t, writeCredentials(dir, want))
	got, err := ReadCredentials(dir)
	require.NoError(t, err)
	require.Equal(t, want, got)

	for range 2 { // a start that fails loses nothing for the one after it
		shelved, err := shelveCredentials(dir)
		require.NoError(t, err)
		require.Equal(t, want, shelved)
		_, err = ReadCredentials(dir)
		require.ErrorIs(t, err, os.ErrNotExist)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, previousFile), []byte("{"), 0o600))
	shelved, err := shelveCredentials(dir)
	require.NoError(t, err)
	require.Zero(t, shelved, "a broken file means new keys")
}
