package compat_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/compat"
)

var update = flag.Bool("update", false, "write the contracts into released/, as those of the version in internal/release/VERSION")

const (
	root     = "../.."
	released = "released"
)

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
}

func TestTheContractsOfTheLastReleaseAreKept(t *testing.T) {
	t.Parallel()
	now, err := compat.Current(os.DirFS(root))
	require.NoError(t, err)
	next := strings.TrimSpace(read(t, root+"/internal/release/VERSION"))
	if *update {
		require.NoError(t, now.Write(released, next))
	}
	version, old, err := compat.Released(released)
	require.NoError(t, err)
	breaks, err := compat.Breaks(old, now)
	require.NoError(t, err)
	left, complaints := compat.Accept(breaks, read(t, "breaks.txt"), read(t, root+"/CHANGELOG.md"), version, next)
	require.Empty(t, left, "this breaks those who use %s. docs/reference/versioning.md says what may change when, and CONTRIBUTING.md what to do if it is intended:\n%s",
		version, strings.Join(left, "\n"))
	require.Empty(t, complaints, "breaks.txt:\n%s", strings.Join(complaints, "\n"))
}
