package main

import (
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/test/process"
)

func TestPatchesFitTheCode(t *testing.T) {
	t.Parallel()
	module, err := process.Root()
	require.NoError(t, err)
	_, err = overlay(module, t.TempDir(), quick)
	require.NoError(t, err)
	for name, s := range sabotages {
		_, err := overlay(module, t.TempDir(), s.patches)
		require.NoError(t, err, name)
	}
	_, err = overlay(module, t.TempDir(), shortDays(time.Minute))
	require.NoError(t, err)
}

func TestPatchThatDoesNotFitIsAnError(t *testing.T) {
	t.Parallel()
	module, err := process.Root()
	require.NoError(t, err)
	_, err = overlay(module, t.TempDir(), []patch{{"internal/relay/relay.go", "no such text", ""}})
	require.ErrorContains(t, err, "0 times")
	_, err = overlay(module, t.TempDir(), []patch{{"internal/relay/relay.go", "return", ""}})
	require.ErrorContains(t, err, "not once")
}

func everyFault() []fault {
	var out []fault
	for _, l := range lanes(nil) {
		out = append(out, l.faults...)
	}
	return append(append(out, outages(false)...), attacks(false)...)
}

func TestSabotagesShowUnderFaultsThatExist(t *testing.T) {
	t.Parallel()
	for name, s := range sabotages {
		for _, f := range s.faults {
			require.NotEmpty(t, choose(everyFault(), []string{f}), "%s wants %s", name, f)
		}
	}
}

func TestEveryCrashPointStandsInTheCodeAndIsTried(t *testing.T) {
	t.Parallel()
	module, err := process.Root()
	require.NoError(t, err)
	call := regexp.MustCompile(`faults\.At\(faults\.(\w+)\)`)
	var found []string
	require.NoError(t, fs.WalkDir(os.DirFS(module), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "test/") {
			return err
		}
		b, err := fs.ReadFile(os.DirFS(module), name)
		for _, m := range call.FindAllStringSubmatch(string(b), -1) {
			found = append(found, m[1])
		}
		return err
	}))
	slices.Sort(found)
	require.Len(t, slices.Compact(found), len(faults.Points), "each stands somewhere: %v", found)
	for _, p := range faults.Points {
		if !strings.HasPrefix(string(p), "migrate.") { // tried at every start
			require.NotEmpty(t, choose(everyFault(), []string{"crash." + string(p)}), p)
		}
	}
}
