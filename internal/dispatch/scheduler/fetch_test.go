package scheduler

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestALaneThatCouldNotFetchIsServedWhenTheLeaseIsBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	b.Lease(time.Time{})
	w := hook(1, 1, 1)
	for range 3 {
		b.Due(b.now, w, b.now.Latest)
		b.begin()
		require.Empty(t, b.took(Fetch), "the partitions may be another's")
	}
	b.Lease(b.now.Time.Add(time.Second))
	b.begin()
	require.Len(t, b.took(Fetch), 1)
}

func TestOneFetchRunsAtATimeAndTheNextServesAllThatCameMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	first := hook(1, 1, 1)
	b.Due(b.now, first, b.now.Latest)
	b.begin()
	require.Len(t, b.took(Fetch), 1)
	for i := range 5 {
		b.Due(b.now, hook(byte(i+2), 1, 1), b.now.Latest)
		b.begin()
		require.Empty(t, b.took(Fetch))
	}
	b.Fetched(b.now, []FetchResult{{WebhookID: first.ID}})
	b.begin()
	require.Len(t, b.took(Fetch), 5)
}

// The running statement may not see a row that became due after it began.
func TestAHintThatComesDuringAFetchIsKept(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	w := hook(1, 1, 1)
	b.Due(b.now, w, b.now.Latest)
	b.begin()
	require.Len(t, b.took(Fetch), 1)
	b.Due(b.now, w, b.now.Latest)
	b.Fetched(b.now, []FetchResult{{WebhookID: w.ID, Next: b.now.Latest + time.Hour.Microseconds()}})
	b.begin()
	require.Len(t, b.took(Fetch), 1)
}

func TestAFetchThatFailedIsRepeatedAfterAPause(t *testing.T) {
	t.Parallel()
	b := newBench(t, 10, 10)
	w := hook(1, 1, 1)
	for name, c := range map[string]struct {
		result FetchResult
		pause  time.Duration
	}{
		"an error":    {FetchResult{WebhookID: w.ID, Next: FetchFailed}, fetchFailedPause},
		"locked rows": {FetchResult{WebhookID: w.ID, Next: b.now.Latest}, fetchStalledPause},
	} {
		b.Due(b.now, w, b.now.Latest)
		b.begin()
		require.Len(t, b.took(Fetch), 1, name)
		b.Fetched(b.now, []FetchResult{c.result})
		b.pass(c.pause - time.Millisecond)
		b.begin()
		require.Empty(t, b.took(Fetch), name)
		b.pass(time.Millisecond)
		b.begin()
		require.Len(t, b.took(Fetch), 1, name)
		b.Fetched(b.now, []FetchResult{{WebhookID: w.ID}})
	}
}

// Without the release the row would wait for its lease to run out.
func TestAReleasedRowIsFetchedWhenItsLaneHasRoom(t *testing.T) {
	t.Parallel()
	b := newBench(t, 1, 1)
	w := hook(1, 1, 1)
	for range queueFirst {
		b.offer(w, 0)
	}
	a, refused := b.offer(w, 0)
	require.Equal(t, Full, a)
	b.Recorded(b.now, refused, b.now.Latest)
	for range queueFirst {
		flying := b.begin()
		require.Len(t, flying, 1)
		b.pass(2 * time.Second)
		b.end(flying[0], fine)
	}
	require.Len(t, b.took(Fetch), 1)
}
