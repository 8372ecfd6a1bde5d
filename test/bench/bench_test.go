package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	s, err := parseStat("42 (postgres: a) b (c) S 7 42 42 0 -1 4194560 100 200 3 4 150 50 1000 25 20 0 1 0 5")
	require.NoError(t, err)
	require.Equal(t, stat{parent: "7", own: 2, waited: 10.25}, s)
	for _, bad := range []string{"", "1 (x) S 1", "1 x S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"} {
		_, err := parseStat(bad)
		require.Error(t, err, bad)
	}
}

func TestCPUOfThisProcessGrows(t *testing.T) {
	t.Parallel()
	pid := strconv.Itoa(os.Getpid())
	before, err := cpuOf(pid)
	require.NoError(t, err)
	sum := 0
	require.Eventually(t, func() bool {
		for i := range 10_000_000 {
			sum ^= i
		}
		now, err := cpuOf(pid)
		return err == nil && now > before
	}, time.Minute, time.Millisecond, "%d", sum)
	family, err := cpuOfFamily(pid)
	require.NoError(t, err)
	require.GreaterOrEqual(t, family, before)
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var d []time.Duration
	for i := 1; i <= 200; i++ {
		d = append(d, time.Duration(i))
	}
	require.EqualValues(t, 100, percentile(d, 50))
	require.EqualValues(t, 198, percentile(d, 99))
	require.EqualValues(t, 7, percentile([]time.Duration{7}, 99))
}

func TestSummaryCountsEachEventOnce(t *testing.T) {
	t.Parallel()
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	r := summarize(start, map[string]time.Time{"a": at(0), "b": at(100), "c": at(200)}, map[string]time.Time{"a": at(10), "b": at(500)})
	require.Equal(t, Result{N: 2, Expected: 3, PerSecond: 4, P50Millis: 10, P99Millis: 400}, r)
	require.Equal(t, Result{Expected: 1}, summarize(start, map[string]time.Time{"a": at(0)}, nil))
}

func TestCPUIsChargedToWhatArrived(t *testing.T) {
	t.Parallel()
	r := Result{N: 500}
	r.charge(map[string]float64{"a": 1, "b": 2}, map[string]float64{"a": 2, "b": 2.5})
	require.Equal(t, Result{N: 500, CPUPer1000: 3, CPUParts: map[string]float64{"a": 2, "b": 1}}, r)
}

func TestEnvelopeHasAboutTwoKilobytes(t *testing.T) {
	t.Parallel()
	data := newEvent(1, agent).Data
	require.True(t, json.Valid(data))
	require.InDelta(t, 2000, len(data), 200)
}

func TestResultsAreWrittenByTheNamesThatOthersRead(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "results", "latest.json")
	require.NoError(t, write(out, []Result{{Workload: "W1", System: "fanmail", PerSecond: 1.5, N: 2, Expected: 3}}))
	b, err := os.ReadFile(out)
	require.NoError(t, err)
	var read []map[string]any
	require.NoError(t, json.Unmarshal(b, &read))
	require.Len(t, read, 1)
	for _, name := range []string{"workload", "system", "per_s", "cpu_s_per_1000", "p50_ms", "p99_ms", "n", "expected"} {
		require.Contains(t, read[0], name)
	}
	var printed bytes.Buffer
	require.NoError(t, table(&printed, []Result{{Workload: "W1", System: "fanmail"}}))
	require.Contains(t, printed.String(), "fanmail")
}
