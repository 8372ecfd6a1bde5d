package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// parsed are the texts of the settings that may hold secrets, after a parse of the arguments. A variable that is read from
// a file has a file with its name in dir, which the environment names.
func parsed(t *testing.T, grammar any, args ...string) (map[string]string, error) {
	t.Helper()
	k, err := kong.New(grammar, kong.Vars{"version": "", "http_addr": ""}, app.SecretFiles())
	require.NoError(t, err)
	c, err := k.Parse(args)
	if refused := (*kong.ParseError)(nil); errors.As(err, &refused) && !strings.Contains(err.Error(), "_FILE") {
		c, err = refused.Context, nil // the validation, of which other tests are
	}
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, f := range c.Flags() {
		if f.Target.Type() == reflect.TypeFor[secret.Text]() {
			found[f.Envs[0]] = f.Target.Interface().(secret.Text).Reveal()
		}
	}
	return found, nil
}

func TestEverySecretSettingCanBeAFile(t *testing.T) {
	dir := t.TempDir()
	seen := 0
	for _, grammar := range []func() any{
		func() any { return &app.PublisherConfig{} }, func() any { return &app.DispatcherConfig{} },
		func() any { return &app.IngestConfig{} }, func() any { return &app.APIConfig{} },
	} {
		settings, err := parsed(t, grammar())
		require.NoError(t, err)
		for env := range settings {
			path := filepath.Join(dir, env)
			require.NoError(t, os.WriteFile(path, []byte("text of "+env+"\n"), 0o600))
			t.Setenv(env+"_FILE", path)
		}
		settings, err = parsed(t, grammar())
		require.NoError(t, err)
		for env, text := range settings {
			if env == "FANMAIL_SECRETS_KEY" {
				require.Empty(t, text, "its file is a setting of its own, which is read again when it changes")
				continue
			}
			require.Equal(t, "text of "+env, text)
			seen++
		}
		for env := range settings {
			require.NoError(t, os.Unsetenv(env+"_FILE"))
		}
	}
	require.Greater(t, seen, 8)
}

func TestAFileOfASecretIsRefusedWithoutItsText(t *testing.T) {
	path := filepath.Join(t.TempDir(), "url")
	t.Setenv("FANMAIL_DATABASE_URL_FILE", path)
	for text, want := range map[string]string{
		"":                                "is an empty file",
		"\n":                              "is an empty file",
		"hunter2\nhunter2\n":              "has more than one line",
		strings.Repeat("hunter2", 10_000): "has more than 65536 bytes",
	} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := parsed(t, &app.PublisherConfig{})
		require.ErrorContains(t, err, "--database-url (FANMAIL_DATABASE_URL_FILE) "+want)
		require.NotContains(t, err.Error(), "hunter2")
	}
	require.NoError(t, os.Remove(path))
	_, err := parsed(t, &app.PublisherConfig{})
	require.ErrorContains(t, err, "--database-url (FANMAIL_DATABASE_URL_FILE) can't be read: open ")

	got, err := parsed(t, &app.PublisherConfig{}, "--database-url", "postgres://flag")
	require.NoError(t, err, "a flag takes precedence")
	require.Equal(t, "postgres://flag", got["FANMAIL_DATABASE_URL"])

	t.Setenv("FANMAIL_DATABASE_URL", "postgres://fan:hunter2@host/db")
	_, err = parsed(t, &app.PublisherConfig{})
	require.ErrorContains(t, err, "--database-url (FANMAIL_DATABASE_URL, FANMAIL_DATABASE_URL_FILE) exclude each other")
	require.NotContains(t, err.Error(), "hunter2")
}
