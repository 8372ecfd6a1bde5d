package main

import (
	"context"
	"os"
	"os/exec"
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

func TestParseStatus(t *testing.T) {
	t.Parallel()
	r, err := parseStatus("Name:\tx\nVmHWM:\t    20 kB\nVmRSS:\t 9 kB\nRssAnon:\t 3 kB\nRssShmem:\t 4 kB\n")
	require.NoError(t, err)
	require.Equal(t, resident{peak: 20 << 10, own: 3 << 10, shared: 4 << 10}, r)
	for _, bad := range []string{"", "VmHWM: 20 kB\n", "VmHWM: x kB\nRssAnon: 3 kB\nRssShmem: 4 kB\n"} {
		_, err := parseStatus(bad)
		require.Error(t, err, bad)
	}
}

func TestParseIO(t *testing.T) {
	t.Parallel()
	n, err := parseIO("rchar: 1\nwchar: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 9\n")
	require.NoError(t, err)
	require.Equal(t, 4096.0, n)
	for _, bad := range []string{"", "cancelled_write_bytes: 9\n", "write_bytes: x\n"} {
		_, err := parseIO(bad)
		require.Error(t, err, bad)
	}
}

func TestUsageOfThisProcess(t *testing.T) {
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
	r, err := residentOf(pid)
	require.NoError(t, err)
	require.Positive(t, r.own)
	require.GreaterOrEqual(t, r.peak, r.own)
	_, err = writtenBy(pid)
	require.NoError(t, err)
}

func TestAFamilyHasItsChildren(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	pid, child := strconv.Itoa(os.Getpid()), strconv.Itoa(cmd.Process.Pid)
	family, err := children(pid)
	require.NoError(t, err)
	require.Contains(t, family, child)
	require.NoError(t, stdin.Close())
	require.NoError(t, cmd.Wait())
	family, err = children(pid)
	require.NoError(t, err)
	require.NotContains(t, family, child)
}

// growing is a system with one part that shrinks and one that grows.
type growing struct {
	System
	looks int
}

func (g *growing) Memory() (map[string]float64, error) {
	g.looks++
	return map[string]float64{"grows": float64(g.looks), "shrinks": float64(-g.looks)}, nil
}

func TestMemoryWatchKeepsThePeakOfEachPart(t *testing.T) {
	t.Parallel()
	w := &memoryWatch{system: &growing{}, peak: map[string]float64{}}
	for range 2 {
		_, err := w.read()
		require.NoError(t, err)
	}
	peak, err := w.read()
	require.NoError(t, err)
	require.Equal(t, map[string]float64{"grows": 3, "shrinks": 0}, peak)
	watch := watchMemory(context.Background(), &growing{})
	watch.stop()
}

func TestUsageIsSpreadOverWhatArrived(t *testing.T) {
	t.Parallel()
	require.Equal(t, map[string]float64{"a": 2, "b": 1},
		per(map[string]float64{"a": 1, "b": 2}, map[string]float64{"a": 2, "b": 2.5}, 500, 1000))
	require.Equal(t, map[string]float64{"a": 1}, per(nil, map[string]float64{"a": 1}, 0, 1))
}
