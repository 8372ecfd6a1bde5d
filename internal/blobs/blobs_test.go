package blobs_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/blobs/s3"
	"github.com/fanmail-dev/fanmail/test/s3test"
)

// stores are the kinds of stores, empty, and how to take all of one's content away.
func stores(t *testing.T) map[string]blobs.Store {
	t.Helper()
	server := s3test.Start(t)
	made := map[string]blobs.Store{"folder": blobs.NewFolder(t.TempDir())}
	for name, prefix := range map[string]string{"bucket": "", "bucket with a prefix": "fan/mail/"} {
		store, err := s3.New(server.Config(prefix))
		require.NoError(t, err)
		made[name] = store
	}
	return made
}

func read(t *testing.T, s blobs.Store, key string, from int64) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), key, from)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return b
}

func list(t *testing.T, s blobs.Store, prefix string) (names []string) {
	t.Helper()
	for name, err := range s.List(t.Context(), prefix) {
		require.NoError(t, err)
		names = append(names, name)
	}
	return names
}

func TestEveryStoreKeepsBlobs(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		require.NoError(t, s.Check(t.Context()), name)
		require.Empty(t, list(t, s, "raw/"), name)
		large := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16) // larger than one part of a multipart upload
		for key, content := range map[string][]byte{"raw/2026-01-02/a": []byte("one"), "raw/2026-01-02/b": large, "raw/2026-01-03/c": {}, "other/d": []byte("two")} {
			require.NoError(t, s.Put(t.Context(), key, blobs.Bytes(content)), name)
			require.True(t, bytes.Equal(content, read(t, s, key, 0)), name)
		}
		require.True(t, bytes.Equal(large[5<<20+7:], read(t, s, "raw/2026-01-02/b", 5<<20+7)), name)
		require.ElementsMatch(t, []string{"raw/2026-01-02/", "raw/2026-01-03/"}, list(t, s, "raw/"), name)
		require.ElementsMatch(t, []string{"raw/2026-01-02/a", "raw/2026-01-02/b"}, list(t, s, "raw/2026-01-02/"), name)

		require.NoError(t, s.Put(t.Context(), "raw/2026-01-02/a", blobs.Bytes([]byte("again"))), name)
		require.Equal(t, "again", string(read(t, s, "raw/2026-01-02/a", 0)), name)
		require.NoError(t, s.PutNew(t.Context(), "raw/2026-01-02/a", blobs.Bytes([]byte("no"))), name)
		require.Equal(t, "again", string(read(t, s, "raw/2026-01-02/a", 0)), "%s: PutNew replaces nothing", name)
		require.NoError(t, s.PutNew(t.Context(), "raw/2026-01-02/e", blobs.Bytes([]byte("new"))), name)
		require.Equal(t, "new", string(read(t, s, "raw/2026-01-02/e", 0)), name)

		for _, key := range []string{"raw/2026-01-02/a", "raw/2026-01-02/b", "raw/2026-01-02/e", "raw/2026-01-02/never"} {
			require.NoError(t, s.Delete(t.Context(), key), name)
		}
		require.Equal(t, []string{"raw/2026-01-03/"}, list(t, s, "raw/"), "%s: a day without blobs is gone", name)
		_, err := s.Open(t.Context(), "raw/2026-01-02/a", 0)
		require.Equal(t, blobs.Missing, blobs.KindOf(err), "%s: %v", name, err)
		require.ErrorContains(t, err, "raw/2026-01-02/a", name)
		require.NoError(t, blobs.Probe(t.Context(), s, "trial/x"), name)
		require.Empty(t, list(t, s, "trial/"), name)
	}
}

func TestAStoreSaysWhatIsWrongWithIt(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	bucket := func(change func(*s3.Config)) blobs.Store {
		c := server.Config("")
		change(&c)
		s, err := s3.New(c)
		require.NoError(t, err)
		return s
	}
	away := s3test.Start(t)
	away.Kill()
	gone, err := s3.New(away.Config(""))
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, c := range map[string]struct {
		store blobs.Store
		want  blobs.Kind
	}{
		"no bucket":      {bucket(func(c *s3.Config) { c.Bucket = "nobody" }), blobs.NoBucket},
		"wrong secret":   {bucket(func(c *s3.Config) { c.SecretKey = "hunter2hunter2" }), blobs.Denied},
		"unknown key":    {bucket(func(c *s3.Config) { c.AccessKey = "hunter2" }), blobs.Denied},
		"away":           {gone, blobs.Unreachable},
		"missing folder": {blobs.NewFolder(filepath.Join(t.TempDir(), "missing")), blobs.NoBucket},
		"a file":         {blobs.NewFolder(file), blobs.NoBucket},
	} {
		require.Equal(t, c.want, blobs.KindOf(c.store.Check(t.Context())), "%s: %v", name, c.store.Check(t.Context()))
		put := c.store.Put(t.Context(), "raw/2026-01-02/a", blobs.Bytes([]byte("x")))
		require.Equal(t, c.want, blobs.KindOf(put), "%s: %v", name, put)
		_, open := c.store.Open(t.Context(), "raw/2026-01-02/a", 0)
		require.Equal(t, c.want, blobs.KindOf(open), "%s: %v", name, open)
		for _, err := range []error{put, open} {
			for _, secret := range []string{"hunter2", s3test.SecretKey} {
				require.NotContains(t, err.Error(), secret, name)
			}
		}
	}
}

// A folder is on a volume. Where that is not mounted, nothing may be written beside it.
func TestAFolderIsNotMade(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "volume")
	require.Error(t, blobs.NewFolder(dir).Put(t.Context(), "raw/2026-01-02/a", blobs.Bytes([]byte("x"))))
	require.NoDirExists(t, dir)
}

func TestAKeyStaysInsideTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := blobs.NewFolder(filepath.Join(dir, "store"))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "store"), 0o700))
	for _, key := range []string{"../secret", "raw/../../secret", "/etc/passwd", ".."} {
		require.ErrorContains(t, s.Put(t.Context(), key, blobs.Bytes([]byte("x"))), "is not a key", key)
		_, err := s.Open(t.Context(), key, 0)
		require.ErrorContains(t, err, "is not a key", key)
		require.ErrorContains(t, s.Delete(t.Context(), key), "is not a key", key)
	}
	require.NoFileExists(t, filepath.Join(dir, "secret"))
}

// Only the processes' user can read mails.
func TestFilesAreTheUsersAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, blobs.NewFolder(dir).Put(t.Context(), "raw/2026-01-02/a", blobs.Bytes([]byte("x"))))
	for path, mode := range map[string]os.FileMode{"raw": 0o700, "raw/2026-01-02": 0o700, "raw/2026-01-02/a": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		require.NoError(t, err)
		require.Equal(t, mode, info.Mode().Perm(), path)
	}
}

func TestAStoreBelongsToOneDatabase(t *testing.T) {
	t.Parallel()
	for name, s := range stores(t) {
		owner := func(who string) *blobs.Owned {
			return blobs.NewOwned(s, func(context.Context) (string, error) { return who, nil })
		}
		first, second := owner("first"), owner("second")
		require.NoError(t, first.Put(t.Context(), "raw/2026-01-02/a", blobs.Bytes([]byte("x"))), name)
		require.NoError(t, owner("first").Check(t.Context()), name)
		_, open := second.Open(t.Context(), "raw/2026-01-02/a", 0)
		var listed error
		for _, err := range second.List(t.Context(), "raw/") {
			listed = errors.Join(listed, err)
		}
		for _, err := range []error{
			second.Check(t.Context()), second.Put(t.Context(), "raw/2026-01-02/b", blobs.Bytes(nil)), second.PutNew(t.Context(), "raw/2026-01-02/b", blobs.Bytes(nil)),
			second.Delete(t.Context(), "raw/2026-01-02/a"), open, listed,
		} {
			require.Equal(t, blobs.Foreign, blobs.KindOf(err), "%s: %v", name, err)
		}
		require.Equal(t, "x", string(read(t, s, "raw/2026-01-02/a", 0)), name)

		require.NoError(t, s.Delete(t.Context(), blobs.OwnerKey), name)
		require.NoError(t, second.Put(t.Context(), "raw/2026-01-02/b", blobs.Bytes(nil)), "%s: the operator has deleted the mark", name)
		require.True(t, strings.HasPrefix(string(read(t, s, blobs.OwnerKey, 0)), "second"), name)
	}
}
