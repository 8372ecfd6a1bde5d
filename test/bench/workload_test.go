package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryEndpointGetsItsTurn(t *testing.T) {
	t.Parallel()
	for _, quick := range []bool{true, false} {
		for _, w := range workloads(quick, 1) {
			paths, turns := map[string]bool{}, map[Target]int{}
			for _, e := range w.Endpoints {
				require.False(t, paths[e.Path], "%s: %s twice", w.Name, e.Path)
				paths[e.Path] = true
			}
			for _, to := range w.Turns {
				turns[to]++
			}
			for _, e := range w.Endpoints {
				require.Positive(t, turns[e.Target], "%s: %s has no turn", w.Name, e.Path)
			}
			require.Positive(t, w.Warm)
			require.Positive(t, w.Rounds)
			require.Positive(t, w.Patience)
			require.GreaterOrEqual(t, w.Events, w.Batch)
			if w.State != (State{}) || w.Dispatchers > 1 || w.Nodes > 1 || w.Drop {
				require.Equal(t, "fanmail", w.Only, "%s: the peer has none of that", w.Name)
			}
		}
	}
}

func TestBadNeighboursAreSpreadAmongTheGood(t *testing.T) {
	t.Parallel()
	byName := map[string]Workload{}
	for _, w := range workloads(false, 1) {
		byName[w.Name] = w
	}
	for name, want := range map[string][2]int{"noise-a": {10, 10}, "noise-b": {20, 200}, "noise-c": {20, 2000}, "noise-d": {10, 1}, "noise-e": {10, 1}} {
		w := byName[name]
		require.True(t, w.Noisy())
		bad := 0
		for _, e := range w.Endpoints {
			if !e.Healthy() {
				bad++
			}
		}
		require.Equal(t, want, [2]int{len(w.Endpoints) - bad, bad}, name)
		require.Len(t, w.healthy(), want[0], name)
	}
	w1 := byName["W1"]
	require.False(t, w1.Noisy())
}

func TestEnvelopeHasAboutTwoKilobytes(t *testing.T) {
	t.Parallel()
	data := newEvent(1, target("one", 0)).Data
	require.True(t, json.Valid(data))
	require.InDelta(t, 2000, len(data), 200)
	require.Equal(t, data, newEvent(1, target("one", 0)).Data, "every system gets the same")
	require.NotEqual(t, filler(1, 1500), filler(2, 1500))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(filler(1, 1500)))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.Greater(t, packed.Len(), 500, "a database that packs rows must find text, not a pattern")
}

// recorder is a system that accepts events and remembers them.
type recorder struct {
	System
	mu      sync.Mutex
	batches [][]Event
}

func (l *recorder) Accept(_ context.Context, evs []Event) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, evs)
	ids := make([]string, len(evs))
	for i := range ids {
		ids[i] = strconv.Itoa(len(l.batches)) + "." + strconv.Itoa(i)
	}
	return ids, nil
}

func TestProducerSendsOnlyWhatIsWanted(t *testing.T) {
	t.Parallel()
	good, bad := target("x", 1), target("x", 2)
	for _, rate := range []float64{0, 1e6} {
		l := &recorder{}
		w := Workload{Turns: []Target{good, bad, bad}, Events: 10, Batch: 4, Rate: rate}
		got, err := send(t.Context(), l, &w, func(to Target) bool { return to == good })
		require.NoError(t, err)
		require.Len(t, got, 4, "turns 0, 3, 6 and 9")
		ids := map[string]bool{}
		for _, s := range got {
			require.Equal(t, good, s.to)
			ids[s.id] = true
		}
		require.Len(t, ids, 4)
		require.Len(t, l.batches, 3, "the batches' bounds stay")
	}
}

func TestProducerEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := send(ctx, &recorder{}, &Workload{Turns: []Target{{}}, Events: 10, Batch: 1, Rate: 1}, everyone)
	require.ErrorIs(t, err, context.Canceled)
}
