package keyring_test

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

var here = keyring.Place{Table: "webhooks", Column: "signing_secret", Row: "1"}

func newKeyring(t testing.TB) (*keyring.Keyring, []byte) {
	t.Helper()
	text, err := keyring.NewKeyset()
	require.NoError(t, err)
	k, err := keyring.Parse(secret.Text(text))
	require.NoError(t, err)
	return k, text
}

func TestASealedValueOpensAtItsPlaceOnly(t *testing.T) {
	t.Parallel()
	k, _ := newKeyring(t)
	for _, plain := range []string{"", "hunter2", "clear:hunter2", "sealed:v1:hunter2", strings.Repeat("hunter2", 10_000)} {
		stored, err := k.Seal(plain, here)
		require.NoError(t, err)
		require.True(t, keyring.Sealed(stored))
		require.True(t, strings.HasPrefix(stored, k.Prefix()))
		require.Contains(t, stored, ":"+k.Primary()+":")
		for _, form := range []string{"hunter2", base64.StdEncoding.EncodeToString([]byte("hunter2")), hex.EncodeToString([]byte("hunter2"))} {
			require.NotContains(t, stored, form)
		}
		opened, err := k.Open(stored, here)
		require.NoError(t, err)
		require.Equal(t, plain, opened)
		for _, elsewhere := range []keyring.Place{
			{Table: "webhooks", Column: "signing_secret", Row: "2"},
			{Table: "webhooks", Column: "headers", Row: "1"},
			{Table: "agents", Column: "signing_secret", Row: "1"},
			{},
		} {
			_, err := k.Open(stored, elsewhere)
			require.ErrorIs(t, err, keyring.ErrDamaged, elsewhere)
		}
	}
}

func TestAChangedValueDoesNotOpen(t *testing.T) {
	t.Parallel()
	k, _ := newKeyring(t)
	stored, err := k.Seal("hunter2", here)
	require.NoError(t, err)
	id := k.Primary()
	for _, bad := range []string{
		stored[:len(stored)-4], stored + "AAAA", strings.Replace(stored, ":"+id+":", ":"+id+"=:", 1), "sealed:v1:" + id + ":", "sealed:v1:" + id, "sealed:v1:",
		"sealed:v1:" + strings.ToUpper("abcdefab") + stored[len("sealed:v1:")+8:], "sealed:v1:" + id + ":%%%",
	} {
		_, err := k.Open(bad, here)
		require.ErrorIs(t, err, keyring.ErrDamaged, bad)
	}
	var missing *keyring.MissingKeyError
	_, err = k.Open("sealed:v2:x:y", here)
	require.ErrorAs(t, err, &missing)
	require.Contains(t, err.Error(), `"v2"`)
}

func TestWithoutAKeyValuesAreInClear(t *testing.T) {
	t.Parallel()
	keyed, _ := newKeyring(t)
	sealed, err := keyed.Seal("hunter2", here)
	require.NoError(t, err)
	none, err := keyring.Load(keyring.Source{})
	require.NoError(t, err)
	for _, k := range []*keyring.Keyring{nil, {}, none} {
		require.Empty(t, k.Primary())
		require.Empty(t, k.IDs())
		for _, plain := range []string{"", "hunter2", "clear:hunter2", "clear:clear:", "sealed:v1:hunter2", sealed} {
			stored, err := k.Seal(plain, here)
			require.NoError(t, err)
			require.False(t, keyring.Sealed(stored))
			for _, reader := range []*keyring.Keyring{k, keyed} {
				opened, err := reader.Open(stored, here)
				require.NoError(t, err)
				require.Equal(t, plain, opened)
			}
		}
		require.Empty(t, k.Prefix())
		_, err := k.Open(sealed, here)
		var missing *keyring.MissingKeyError
		require.ErrorAs(t, err, &missing)
		require.True(t, missing.NoKeys)
		require.Equal(t, keyed.Primary(), missing.ID)
		require.Contains(t, err.Error(), "Config.SecretsKey")
	}
}

func TestAnotherKeyDoesNotOpen(t *testing.T) {
	t.Parallel()
	a, _ := newKeyring(t)
	b, _ := newKeyring(t)
	sealed, err := a.Seal("hunter2", here)
	require.NoError(t, err)
	_, err = b.Open(sealed, here)
	var missing *keyring.MissingKeyError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, a.Primary(), missing.ID)
	require.False(t, missing.NoKeys)
}

func TestAnAddedKeySealsAndTheOldOneOpens(t *testing.T) {
	t.Parallel()
	old, text := newKeyring(t)
	sealed, err := old.Seal("hunter2", here)
	require.NoError(t, err)
	more, id, err := keyring.AddKey(text)
	require.NoError(t, err)
	k, err := keyring.Parse(secret.Text(keyring.Base64(more)))
	require.NoError(t, err)
	require.Equal(t, id, k.Primary())
	require.ElementsMatch(t, []string{old.Primary(), id}, k.IDs())
	opened, err := k.Open(sealed, here)
	require.NoError(t, err)
	require.Equal(t, "hunter2", opened)
	again, err := k.Reseal(sealed, here)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(again, keyring.PrefixOf(id)))
	same, err := k.Reseal(again, here)
	require.NoError(t, err)
	require.Equal(t, again, same)
	opened, err = k.Open(again, here)
	require.NoError(t, err)
	require.Equal(t, "hunter2", opened)
	_, err = old.Open(again, here)
	require.Error(t, err)
}

// A process reads its file again when it meets a value of a key that it lacks.
func TestAKeyringFollowsItsFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key.json")
	_, text := newKeyring(t)
	require.NoError(t, keyring.CreateFile(path, text))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	require.ErrorIs(t, keyring.CreateFile(path, text), os.ErrExist, "a key is not overwritten")
	k, err := keyring.Load(keyring.Source{File: path})
	require.NoError(t, err)

	more, id, err := keyring.AddKey(text)
	require.NoError(t, err)
	later, err := keyring.Parse(secret.Text(more))
	require.NoError(t, err)
	sealed, err := later.Seal("hunter2", here)
	require.NoError(t, err)
	_, err = k.Open(sealed, here)
	require.Error(t, err)

	require.NoError(t, keyring.ReplaceFile(path, more))
	require.NoError(t, os.Chtimes(path, time.Time{}, time.Now().Add(time.Hour)))
	require.Eventually(t, func() bool {
		opened, err := k.Open(sealed, here)
		return err == nil && opened == "hunter2"
	}, 30*time.Second, 50*time.Millisecond)
	require.Equal(t, id, k.Primary())

	require.NoError(t, os.WriteFile(path, []byte("broken"), 0o600))
	opened, err := k.Open(sealed, here)
	require.NoError(t, err, "a broken file leaves the keys as they are")
	require.Equal(t, "hunter2", opened)
}

func TestABadKeysetIsRefusedWithoutItsText(t *testing.T) {
	t.Parallel()
	_, text := newKeyring(t)
	raw := strings.Replace(string(text), `"TINK"`, `"RAW"`, 1)
	require.NotEqual(t, raw, string(text))
	for name, bad := range map[string]string{
		"empty": "", "no JSON": "hunter2", "other JSON": `{"hunter2": 1}`, "broken JSON": `{"primaryKeyId": "hunter2`, "without a primary": strings.Replace(string(text), `"primaryKeyId":`, `"primaryKeyID2":`, 1),
		"without prefix": raw, "a KMS": "gcp-kms://projects/hunter2", "disabled": strings.Replace(string(text), "ENABLED", "DISABLED", 1), "long": strings.Repeat("A", 1<<20+1),
	} {
		_, err := keyring.Parse(secret.Text(bad))
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "hunter2", name)
	}
	path := filepath.Join(t.TempDir(), "key.json")
	_, err := keyring.Load(keyring.Source{File: path})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(path, []byte("hunter2"), 0o600))
	_, err = keyring.Load(keyring.Source{File: path})
	require.ErrorContains(t, err, path)
	require.NotContains(t, err.Error(), "hunter2")
	_, err = keyring.Load(keyring.Source{File: path, Key: "x"})
	require.ErrorContains(t, err, "give one")
}

func FuzzOpen(f *testing.F) {
	k, _ := newKeyring(f)
	sealed, err := k.Seal("hunter2", here)
	require.NoError(f, err)
	f.Add(sealed)
	f.Add("clear:sealed:")
	f.Fuzz(func(t *testing.T, stored string) {
		opened, err := k.Open(stored, keyring.Place{Table: "other"})
		if err == nil {
			require.False(t, keyring.Sealed(stored))
			require.True(t, strings.HasSuffix(stored, opened))
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	k, _ := newKeyring(b)
	sealed, err := k.Seal("whsec_"+strings.Repeat("A", 44), here)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Open(sealed, here); err != nil {
			b.Fatal(err)
		}
	}
}
