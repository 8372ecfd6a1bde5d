package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// within is a directory that Postgres's user can enter, unlike the test's own.
func within(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fanmail-bench-test-") //nolint:usetesting // as said
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// Three names get two events each. Whether there is a handshake for each name or for each delivery is up to the servers.
func TestNamesAreReachedOverTLS(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	fanmail, err := NewFanmail(ctx, filepath.Join(within(t), "bin"))
	require.NoError(t, err)
	for _, system := range []System{fanmail, &River{workers: riverWorkers}} {
		all := names(func(_, short int) int { return short })
		for i := range all {
			w := all[i]
			w.Endpoints, w.Turns, w.Events, w.Rate = w.Endpoints[:3], inTurn(w.Endpoints[:3]), 6, 0
			w.Names.Idle = max(w.Names.Idle, time.Minute)
			got, err := run(ctx, &w, system, within(t), "")
			require.NoError(t, err, "%s on %s", w.Name, system.Name())
			require.Equal(t, []int{6, 6}, []int{got.N, got.Expected})
			require.LessOrEqual(t, got.Handshakes.Full, 3, "the warm-up has opened the connections")
		}
	}
}

func TestServersWithNamesCloseIdleConnections(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	n := Names{Idle: 10 * time.Millisecond}
	rec, err := startReceiver(ctx, &n, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(rec.stop)
	n.DNS, n.Roots = rec.DNS, rec.Roots
	require.Equal(t, []string{namesDNS + "=" + rec.DNS, namesRoots + "=" + rec.Roots}, n.env())
	e := each("x", 1, Answer{})[0]
	require.Equal(t, rec.URL+e.Path, rec.url(&e))
	e.Host = "n0.bench.example"
	require.Regexp(t, `^https://n0\.bench\.example:[0-9]+/x/0$`, rec.url(&e))
	require.FileExists(t, rec.Roots)
	h, err := rec.handshakes(ctx, &n)
	require.NoError(t, err)
	require.Zero(t, h)
}

func TestThreeServersHaveThreeReplicas(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	dir := within(t)
	f, err := NewFanmail(ctx, filepath.Join(dir, "bin"))
	require.NoError(t, err)
	data := within(t)
	require.NoError(t, f.Start(ctx, data, &Workload{Nodes: productionNodes}))
	t.Cleanup(func() { require.NoError(t, f.Stop(context.WithoutCancel(ctx))) })
	nc, err := nats.Connect(f.nc.ConnectedUrl())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	streams, seen := js.ListStreams(ctx), 0
	for info := range streams.Info() {
		require.Equal(t, productionNodes, info.Config.Replicas, info.Config.Name)
		seen++
	}
	require.NoError(t, streams.Err())
	require.Positive(t, seen)
	u, err := f.Usage(ctx)
	require.NoError(t, err)
	for i := range productionNodes {
		require.Contains(t, u.CPU, part("natsd", i))
	}
}

func TestReplicatedWorkloadsStandBesideTheirOwn(t *testing.T) {
	t.Parallel()
	byName := map[string]Workload{}
	all := workloads(true, 1)
	for i := range all {
		byName[all[i].Name] = all[i]
	}
	for _, name := range []string{"W1", "W1b", "W3b"} {
		one, three := byName[name], byName[name+"-r3"]
		require.Equal(t, []any{one.Group, one.Events, one.Rate, 3}, []any{three.Group, three.Events, three.Rate, three.Nodes})
		require.True(t, three.FullOnly)
		require.False(t, one.FullOnly)
	}
	require.Empty(t, byName["W2"].Group)
}
