package kms_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/kms"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/test/kmstest"
)

var here = keyring.Place{Table: "webhooks", Column: "signing_secret", Row: "1"}

func parse(t *testing.T, url string) *kms.Key {
	t.Helper()
	key, err := kms.Parse(url)
	require.NoError(t, err)
	return key
}

// TestAKeysetIsEncryptedByTheKMS makes a keyset, adds keys to it and moves one that was in clear.
func TestAKeysetIsEncryptedByTheKMS(t *testing.T) {
	s := kmstest.Start(t)
	s.Use(t)
	key := parse(t, s.NewKey())
	text, err := keyring.NewWrapped(t.Context(), key)
	require.NoError(t, err)
	var outer map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &outer))
	require.Contains(t, outer, "encryptedKeyset")
	require.NotContains(t, outer, "key", "no key is in clear")
	load := func(text []byte) *keyring.Keyring {
		k, err := keyring.LoadContext(t.Context(), keyring.Source{Key: secret.Text(keyring.Base64(text)), KMS: key})
		require.NoError(t, err)
		return k
	}
	sealed, err := load(text).Seal("hunter2", here)
	require.NoError(t, err)
	more, id, err := keyring.AddWrapped(t.Context(), text, key)
	require.NoError(t, err)
	k := load(more)
	require.Equal(t, id, k.Primary())
	opened, err := k.Open(sealed, here)
	require.NoError(t, err)
	require.Equal(t, "hunter2", opened)

	clear, err := keyring.NewKeyset()
	require.NoError(t, err)
	_, err = keyring.LoadContext(t.Context(), keyring.Source{Key: secret.Text(clear), KMS: key})
	require.ErrorContains(t, err, "it is in clear")
	moved, _, err := keyring.AddWrapped(t.Context(), clear, key)
	require.NoError(t, err)
	before, err := keyring.Parse(secret.Text(clear))
	require.NoError(t, err)
	require.Contains(t, load(moved).IDs(), before.Primary(), "what the keyset sealed in clear still opens")
	for _, read := range []func() error{
		func() error { _, err := keyring.Parse(secret.Text(moved)); return err },
		func() error { _, _, err := keyring.AddKey(moved); return err },
	} {
		require.ErrorContains(t, read(), "it is encrypted by a KMS")
	}
}

// TestAKeyringFollowsItsFileThroughTheKMS takes the KMS away before the file changes.
func TestAKeyringFollowsItsFileThroughTheKMS(t *testing.T) {
	s := kmstest.Start(t)
	s.Use(t)
	key := parse(t, s.NewKey())
	text, err := keyring.NewWrapped(t.Context(), key)
	require.NoError(t, err)
	more, id, err := keyring.AddWrapped(t.Context(), text, key)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "key.json")
	require.NoError(t, keyring.CreateFile(path, text))
	k, err := keyring.LoadContext(t.Context(), keyring.Source{File: path, KMS: key})
	require.NoError(t, err)
	first := k.Primary()
	sealed, err := k.Seal("hunter2", here)
	require.NoError(t, err)

	s.Kill()
	require.NoError(t, keyring.ReplaceFile(path, more))
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
	require.Zero(t, k.Refresh())
	opened, err := k.Open(sealed, here)
	require.NoError(t, err, "the keys stay while the KMS is away")
	require.Equal(t, "hunter2", opened)
	require.Equal(t, first, k.Primary())
	s.Again()
	require.Eventually(t, func() bool { k.Refresh(); return k.Primary() == id }, time.Minute, 50*time.Millisecond)
}

// TestFaultsOfTheKMS tells what waiting ends from what somebody must mend. No error has a secret.
func TestFaultsOfTheKMS(t *testing.T) {
	s := kmstest.Start(t)
	s.Use(t)
	key, other, disabled := parse(t, s.NewKey()), parse(t, s.NewKey()), s.NewKey()
	text, err := keyring.NewWrapped(t.Context(), key)
	require.NoError(t, err)
	off, err := keyring.NewWrapped(t.Context(), parse(t, disabled))
	require.NoError(t, err)
	s.Disable(disabled)
	fails := func(name string, text []byte, key *kms.Key, code string, temporary bool) {
		t.Helper()
		_, err := keyring.LoadContext(t.Context(), keyring.Source{Key: secret.Text(text), KMS: key})
		var refused *kms.Error
		require.ErrorAs(t, err, &refused, name)
		require.Equal(t, code, refused.Code, "%s: %v", name, err)
		require.Equal(t, temporary, refused.Temporary(), name)
		f, known := health.Explain(err)
		require.True(t, known, name)
		require.Equal(t, code, f.Code, name)
		require.Equal(t, temporary, !f.Permanent, name)
		for _, part := range []string{kmstest.SecretKey, "encryptedKeyset", string(text[20:60])} {
			require.NotContains(t, err.Error(), part, name)
		}
	}
	fails("another key", text, other, kms.WrongKey, false)
	fails("no such key", text, parse(t, "aws-kms://arn:aws:kms:eu-central-1:111122223333:alias/none"), kms.WrongKey, false)
	fails("a disabled key", off, parse(t, disabled), kms.WrongKey, false)
	t.Run("without credentials", func(t *testing.T) {
		t.Setenv("AWS_ACCESS_KEY_ID", "")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "")
		fails("none", text, key, kms.NoCredentials, true)
		t.Setenv("AWS_PROFILE", "absent")
		fails("a profile that does not exist", text, key, kms.NoCredentials, true)
	})
	for name, c := range map[string]struct {
		status    int
		body      string
		code      string
		temporary bool
	}{
		"denied":      {400, `{"__type":"AccessDeniedException","Message":"User: arn:aws:iam::1:user/x is not authorized to perform: kms:Decrypt"}`, kms.Denied, false},
		"bad token":   {400, `{"__type":"UnrecognizedClientException","message":"The security token included in the request is invalid."}`, kms.Denied, false},
		"throttled":   {400, `{"__type":"ThrottlingException"}`, kms.Away, true},
		"unavailable": {503, `<html>`, kms.Away, true},
	} {
		t.Run(name, func(t *testing.T) {
			answers := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/x-amz-json-1.1")
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			}))
			defer answers.Close()
			t.Setenv("AWS_ENDPOINT_URL_KMS", answers.URL)
			fails(name, text, key, c.code, c.temporary)
		})
	}
	t.Run("silent", func(t *testing.T) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // it accepts and answers nothing
		require.NoError(t, err)
		defer l.Close() //nolint:errcheck // nothing was sent
		t.Setenv("AWS_ENDPOINT_URL_KMS", "http://fan:"+kmstest.SecretKey+"@"+l.Addr().String())
		fails("silent", text, key, kms.Away, true)
	})
	s.Kill()
	fails("away", text, key, kms.Away, true)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = keyring.LoadContext(ctx, keyring.Source{Key: secret.Text(text), KMS: key})
	require.Error(t, err)
	_, err = key.EncryptWithContext(t.Context(), make([]byte, 4097), nil)
	require.ErrorContains(t, err, "4096 at most")
}

func TestURLsOfOtherServicesAreRefusedWithAWayRound(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"gcp-kms://projects/hunter2", "hcvault://fan:hunter2@vault/transit/keys/k", "azure-kms://hunter2", "hunter2", ""} {
		_, err := kms.Parse(url)
		require.ErrorContains(t, err, "FANMAIL_SECRETS_KEY_FILE")
		require.NotContains(t, err.Error(), "hunter2")
	}
	for _, arn := range []string{"", "hunter2", "arn:aws:s3:eu-central-1:111122223333:key/hunter2", "arn:aws:kms::111122223333:key/hunter2", "arn:aws:kms:eu-central-1:1:key/hunter2", "arn:aws:kms:eu-central-1:111122223333:key/hunter2?x"} {
		_, err := kms.Parse(kms.Scheme + arn)
		require.ErrorContains(t, err, "must have the ARN")
		require.NotContains(t, err.Error(), "hunter2")
	}
	for _, arn := range []string{"arn:aws:kms:eu-central-1:111122223333:key/4c147b51-cd19", "arn:aws-cn:kms:cn-north-1:111122223333:alias/fan/mail", "arn:aws-us-gov:kms:us-gov-west-1:111122223333:key/mrk-4c14"} {
		_, err := kms.Parse(kms.Scheme + arn)
		require.NoError(t, err, strings.TrimPrefix(arn, "arn:"))
	}
}
