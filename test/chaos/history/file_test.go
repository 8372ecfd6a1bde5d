package history_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
)

func TestWhatIsAppendedIsReadBack(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	h, err := history.Create(path)
	require.NoError(t, err)
	want := []history.Record{
		{Kind: history.KindRun, Run: &history.Run{At: 1, Seed: 2}},
		{Kind: history.KindPost, Post: &history.Post{Hook: "wh_1", Attempt: 1, Status: 200}},
	}
	for _, r := range want {
		h.Append(r)
	}
	require.NoError(t, h.Close())
	got, err := history.Read(path)
	require.NoError(t, err)
	require.Equal(t, want, got)

	_, err = history.Create(path)
	require.ErrorIs(t, err, os.ErrExist, "a history is not written over")
}

func TestHistoryThatCanNotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "history.jsonl")
	require.NoError(t, os.WriteFile(path, []byte("{\"kind\":\"run\"}\n{\"kind\":\"run\",\"tampered\":1}\n"), 0o600))
	_, err := history.Read(path)
	require.ErrorContains(t, err, "record 2")
}
