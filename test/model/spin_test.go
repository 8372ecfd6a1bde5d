//go:build model

package model_test

import (
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// searchTime bounds one search, on a machine that is busy.
const searchTime = 10 * time.Minute

// configurations bound how often each fault happens in a run. Each is searched
// completely.
var configurations = []struct {
	name    string
	defines []string
}{
	{"stalls and repeats", []string{"STALLS=2", "CRASHES=0", "DOUBTS=0", "MOVES=0", "REPEATS=1", "MAX_ATTEMPTS=1"}},
	{"a stall, a death and a doubt", []string{"STALLS=1", "CRASHES=1", "DOUBTS=1", "MOVES=0", "REPEATS=0"}},
	{"stalls over two attempts", []string{"STALLS=2", "CRASHES=0", "DOUBTS=0", "MOVES=0", "REPEATS=0"}},
	{"a stall and a handover", []string{"STALLS=1", "CRASHES=0", "DOUBTS=0", "MOVES=1", "REPEATS=1", "MAX_ATTEMPTS=1"}},
	{"stalls and a death", []string{"STALLS=2", "CRASHES=1", "DOUBTS=0", "MOVES=0", "REPEATS=0", "MAX_ATTEMPTS=1"}},
	{"a stall and an operation", []string{"STALLS=1", "CRASHES=0", "DOUBTS=0", "MOVES=0", "REPEATS=0", "OPERATIONS=1"}},
	{"a death and a handover", []string{"STALLS=0", "CRASHES=1", "DOUBTS=0", "MOVES=1", "REPEATS=1", "MAX_ATTEMPTS=1"}},
}

// spin names the checker; the test needs it, and a C compiler. `make model` installs both.
func spin(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("spin")
	require.NoError(t, err, "spin is missing: run `make model`, which installs it")
	return path
}

// search has spin visit all states, and returns the text of the assertion that
// fails, "acceptance cycle" for a row that is stuck, and "" for nothing.
func search(t *testing.T, liveness bool, defines ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), searchTime)
	defer cancel()
	dir := t.TempDir()
	source, err := os.ReadFile(deliveryModel)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, deliveryModel), source, 0o600))
	run := func(name string, args ...string) string {
		c := exec.CommandContext(ctx, name, args...)
		c.Dir = dir
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
		return string(out)
	}
	args := make([]string, 0, len(defines)+2)
	for _, d := range defines {
		args = append(args, "-D"+d)
	}
	run(spin(t), append(args, "-a", deliveryModel)...)
	// The checker that -Og makes is as fast as that of -O1, which takes three times as long to compile.
	compile, check := []string{"-Og", "-w", "-DVECTORSZ=1024", "-DMEMLIM=2048", "-o", "pan", "pan.c"}, []string{"-m300000", "-w22"}
	if liveness {
		check = append(check, "-a", "-N", "ends")
	} else {
		compile = append(compile, "-DSAFETY", "-DNOCLAIM")
	}
	if strings.HasPrefix(defines[0], "NO_") {
		compile[0] = "-O0" // a trace is found soon
	}
	run("cc", compile...)
	out := run(filepath.Join(dir, "pan"), check...)
	if m := regexp.MustCompile(`pan:1: (?:assertion violated )?\s*(.*) \(at depth`).FindStringSubmatch(out); m != nil {
		c := exec.CommandContext(ctx, spin(t), append(args, "-T", "-t", deliveryModel)...)
		c.Dir = dir
		trace, _ := c.Output()
		t.Logf("%s\n%s", m[1], trace)
		return m[1]
	}
	require.NotContains(t, out, "Search not completed")
	require.Contains(t, out, "errors: 0")
	return ""
}

func TestTheModelKeepsItsPromises(t *testing.T) {
	t.Parallel()
	for _, c := range configurations {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, search(t, false, c.defines...))
		})
	}
}

func TestNoRowOfTheModelIsStuck(t *testing.T) {
	t.Parallel()
	require.Empty(t, search(t, true, stuck...))
}

// needs is the configuration that shows what a guard is for, where the first does
// not.
var needs = map[string]int{
	"NO_ATTEMPT_CHECK": 1, "NO_DEADLINE": 4, "NO_RETRY_LEASED": 5, "NO_ENABLE_LEASED": 5, "NO_END_LEASED": 5, "NO_FORMER_KEPT": 6,
}

// backedUp are guards behind which another one stands, which is for a broker that
// forgets. Where the broker REMEMBERS, the first one suffices, and is needed.
var backedUp = map[string]string{
	"NO_FENCE": "NO_FORMER", "NO_TENURE": "NO_FORMER", "NO_STOPPED": "NO_FORMER",
	"NO_RECLAIM_TENURE": "NO_RECEIVE_LEASE", "NO_REDELIVERED": "NO_RECEIVE_LEASE",
}

// stuck are the faults of the search for rows that never end.
var stuck = []string{"STALLS=1", "CRASHES=1", "DOUBTS=0", "MOVES=0", "REPEATS=0", "MAX_ATTEMPTS=1"}

func TestGuardsThatAreBackedUpSufficeWhereTheBrokerRemembers(t *testing.T) {
	t.Parallel()
	seconds := slices.Compact(slices.Sorted(maps.Values(backedUp)))
	for _, second := range seconds {
		t.Run(second, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, search(t, false, append([]string{"REMEMBERS", second}, configurations[0].defines...)...))
		})
	}
}

func TestTheCheckerFindsATraceForEachBrokenGuard(t *testing.T) {
	t.Parallel()
	done := map[string]bool{} // a guard may stand in several places of the code
	for _, g := range guards(t) {
		for _, name := range switchName.FindAllString(g.switches, -1) {
			if done[name] {
				continue
			}
			done[name] = true
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if name == "NO_RESCUE" {
					require.NotEmpty(t, search(t, true, append([]string{name}, stuck...)...))
					return
				}
				faults := configurations[needs[name]].defines
				if second, ok := backedUp[name]; ok {
					faults = append([]string{"REMEMBERS", second}, faults...)
				}
				found := search(t, false, append([]string{name}, faults...)...)
				require.NotEmpty(t, found, "the model holds without this guard")
			})
		}
	}
}
