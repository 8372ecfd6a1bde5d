package rawmail

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/test/natstest"
)

func TestOnlyObjectsThatNoMessageCanNameAreRemoved(t *testing.T) {
	t.Parallel()
	_, js := natstest.Connect(t)
	require.NoError(t, stream.EnsureAll(t.Context(), js, stream.Options{}))
	for _, name := range []string{"orphan", keptPrefix + "letter"} {
		require.NoError(t, putObject(t.Context(), js, name, name, []byte("x")))
	}
	for range 3 { // a publisher ended before it stored the object's name
		_, err := js.Publish(t.Context(), chunkPrefix+"unfinished", []byte("x"))
		require.NoError(t, err)
	}
	q := NewQueue(js, stream.Options{})
	remove := func(now time.Time) int {
		n, err := q.removeOrphans(t.Context(), now)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, remove(time.Now().Add(orphaned/2)), "its message may still come")
	large := Mail{To: []string{"robot@example.com"}, At: time.Now(), Raw: []byte(strings.Repeat("x", 2<<20))}
	require.NoError(t, NewPublisher(js, "edge").Publish(t.Context(), &large))
	require.Equal(t, 1, remove(time.Now().Add(2*orphaned)), "a message of its time waits, but nobody finishes the object")

	m, err := q.Next(t.Context())
	require.NoError(t, err)
	require.NoError(t, m.Load(t.Context()))
	require.Equal(t, large.Raw, m.Raw)
	require.NoError(t, m.Ack(t.Context()))
	require.Equal(t, 1, remove(time.Now().Add(2*orphaned)))
	require.Equal(t, 1, remove(time.Now().Add(keptFor+orphaned)))
	s, err := js.Stream(t.Context(), stream.RawObjectsStream)
	require.NoError(t, err)
	require.Zero(t, s.CachedInfo().State.Msgs)
}
