package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALineHasMediansAndSums(t *testing.T) {
	t.Parallel()
	w := Workload{Name: "n", Endpoints: each("bad", 1, Answer{Hang: true})}
	run := func(p99, alone, cpu float64) Run {
		return Run{
			PerSecond: p99, P50: 1, P99: p99, N: 9, Expected: 10, PostedTwice: 1, WellP99: alone / 2, AloneP99: alone, Slowest: []Slow{{1, p99}}, Arrived5s: 8,
			CPU: map[string]float64{"a": cpu, "b": 1}, Memory: map[string]float64{"a": 5}, Written: map[string]float64{"nats": 7},
		}
	}
	l := newLine(&w, "fanmail", []Run{run(10, 10, 1), run(40, 10, 3), run(30, 10, 2)})
	require.Equal(t, 30.0, l.P99Millis)
	require.Equal(t, Spread{Median: 3, Min: 2, Max: 4}, l.Spreads[cpuPer1000], "the parts of a round are summed before the median")
	require.Equal(t, map[string]float64{"a": 2, "b": 1}, l.CPUParts)
	require.Equal(t, []int{27, 30, 3, 3}, []int{l.N, l.Expected, l.PostedTwice, l.Rounds})
	require.Equal(t, &Noise{WellP99Millis: 5, AloneP99Millis: 10, ToWell: 6, Ratio: 3, Arrived5s: 24, Slowest: []Slow{{1, 30}}}, l.Noise)
	require.Equal(t, 5.0, l.MemoryBytes)
}

func TestHandshakesOfALineAreSummed(t *testing.T) {
	t.Parallel()
	run := Run{Handshakes: Handshakes{Full: 3, Resumed: 2, Questions: 6}}
	l := newLine(&Workload{Names: Names{Idle: 1}}, "fanmail", []Run{run, run})
	require.Equal(t, &Handshakes{Full: 6, Resumed: 4, Questions: 12}, l.Handshakes)
	require.Nil(t, newLine(&Workload{}, "fanmail", []Run{run}).Handshakes)
	require.Equal(t, Handshakes{Full: 1, Resumed: 2, Questions: 3}, Handshakes{4, 4, 4}.minus(Handshakes{3, 2, 1}))
}

func TestOnlyTheSameWorkloadIsCompared(t *testing.T) {
	t.Parallel()
	lines := []Line{
		{Workload: "W1", System: "fanmail", PerSecond: 300, CPUPer1000: 1, P50Millis: 2, P99Millis: 3},
		{Workload: "W1", System: "river", PerSecond: 100, CPUPer1000: 4, P50Millis: 8},
		{Workload: "W2", System: "fanmail", PerSecond: 5},
	}
	compare(lines)
	require.Equal(t, map[string]float64{perSecond: 3, cpuPer1000: 0.25, p50Millis: 0.25, p99Millis: 0}, lines[0].ToRiver)
	require.Nil(t, lines[1].ToRiver)
	require.Nil(t, lines[2].ToRiver)
}

func TestAGroupIsComparedWithItsFirst(t *testing.T) {
	t.Parallel()
	lines := []Line{
		{Workload: "W1", System: "fanmail", PerSecond: 1},
		{Workload: "empty", Group: "state", System: "fanmail", PerSecond: 100, CPUPer1000: 1, P50Millis: 2, P99Millis: 4},
		{Workload: "full", Group: "state", System: "fanmail", PerSecond: 50, CPUPer1000: 3, P50Millis: 2, P99Millis: 2},
		{Workload: "fan-out-1", Group: "fan-out", System: "fanmail", PerSecond: 7},
	}
	compare(lines)
	require.Equal(t, map[string]float64{perSecond: .5, cpuPer1000: 3, p50Millis: 1, p99Millis: .5}, lines[2].ToFirst)
	for _, i := range []int{0, 1, 3} {
		require.Nil(t, lines[i].ToFirst, lines[i].Workload)
	}
}

func TestALineTellsOfRetriesAndOfADroppedDay(t *testing.T) {
	t.Parallel()
	l := newLine(&Workload{Name: "x", Drop: true}, "fanmail", []Run{
		{Retried: 3, RetriesPerSecond: 10, Drop: Drop{Took: 1, Before: 2, During: 3}},
		{Retried: 4, RetriesPerSecond: 20, Drop: Drop{Took: 2, Before: 1, During: 9}},
	})
	require.Equal(t, &Retries{N: 7, PerSecond: 15}, l.Retries)
	require.Equal(t, &Drop{Took: 2, Before: 1, During: 9}, l.Drop, "the worst of the rounds")
	plain := newLine(&Workload{Name: "x"}, "fanmail", []Run{{}})
	require.Nil(t, plain.Retries)
	require.Nil(t, plain.Drop)
}

func TestResultsAreWrittenByTheNamesThatOthersRead(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "results")
	lines := []Line{
		{Workload: "W1", System: "fanmail", PerSecond: 1.5, N: 2, Expected: 3},
		{Workload: "noise-a", System: "river", Noise: &Noise{Ratio: 2.5}},
	}
	require.NoError(t, write(filepath.Join(dir, "latest.json"), lines))
	b, err := os.ReadFile(filepath.Join(dir, "latest.json"))
	require.NoError(t, err)
	var read []map[string]any
	require.NoError(t, json.Unmarshal(b, &read))
	require.Len(t, read, 2)
	for _, name := range []string{"workload", "system", "per_s", "cpu_s_per_1000", "p50_ms", "p99_ms", "n", "expected"} {
		require.Contains(t, read[0], name)
	}
	var printed bytes.Buffer
	require.NoError(t, table(&printed, lines))
	require.Contains(t, printed.String(), "fanmail")
	require.Contains(t, printed.String(), "2.50")

	require.NoError(t, plots(dir, lines))
	f, err := os.Open(filepath.Join(dir, "throughput.svg"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	for d := xml.NewDecoder(f); err == nil; {
		_, err = d.Token()
	}
	require.ErrorIs(t, err, io.EOF, "an SVG is XML")
	require.FileExists(t, filepath.Join(dir, "neighbours.svg"))
	require.NoError(t, plots(dir, lines[:1]))
	require.NoFileExists(t, filepath.Join(dir, "neighbours.svg"), "an old plot does not stay beside new results")
}

func TestChoice(t *testing.T) {
	t.Parallel()
	same := func(s string) []string { return []string{s, "group of " + s, ""} }
	all := []string{"a", "b", "c"}
	got, err := choose(all, list("c, a"), same)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "c"}, got)
	got, err = choose(all, []string{"group of b"}, same)
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, got)
	got, err = choose(all, nil, same)
	require.NoError(t, err)
	require.Equal(t, all, got)
	_, err = choose(all, []string{"d"}, same)
	require.ErrorContains(t, err, `"d" is unknown; there are a, group of a, b, group of b, c, group of c`)
}
