package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDiskIsFullAndSlow(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "disk")
	d, err := newDisk(path)
	if err != nil {
		require.ErrorContains(t, err, "make a disk", "a machine without FUSE says so")
		return
	}
	t.Cleanup(func() { require.NoError(t, d.remove()) })
	file := filepath.Join(path, "file")
	require.NoError(t, os.WriteFile(file, []byte("0123456789"), 0o600))

	d.full.Store(true)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("abc"), 7)
	require.NoError(t, err, "what the file has can be written over")
	_, err = f.WriteAt([]byte("abcd"), 7)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, os.WriteFile(filepath.Join(path, "new"), []byte("x"), 0o600), syscall.ENOSPC)
	d.full.Store(false)
	_, err = f.WriteAt([]byte("abcd"), 7)
	require.NoError(t, err)

	d.delay.Store(int64(50 * time.Millisecond))
	start := time.Now()
	require.NoError(t, f.Sync())
	require.GreaterOrEqual(t, time.Since(start), 50*time.Millisecond)
	require.NoError(t, f.Close())
	b, err := os.ReadFile(filepath.Join(path+".real", "file"))
	require.NoError(t, err)
	require.Equal(t, "0123456abcd", string(b))
}
