package faults_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/faults"
)

// The test program runs itself as the process that is to die.
const passes = "CRASH_TEST_PASSES"

func TestMain(m *testing.M) {
	if os.Getenv(passes) == "" {
		os.Exit(m.Run())
	}
	for n := 1; n <= 3; n++ {
		faults.At(faults.OutcomesBegun)
		fmt.Println("passed", n)
	}
}

func run(t *testing.T, at string) (string, *exec.ExitError) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), passes+"=1", faults.Variable+"="+at)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return string(out), exit
}

func TestProcessDiesTheNthTimeItPassesItsPoint(t *testing.T) {
	t.Parallel()
	for at, says := range map[string]string{
		"ledger.begun": "", "ledger.begun:1": "", "ledger.begun:3": "passed 1\npassed 2\n",
	} {
		out, exit := run(t, at)
		require.NotNil(t, exit, at)
		require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), at)
		require.Equal(t, says, out, at)
	}
}

func TestOtherPointsArePassed(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"", "ledger.begun:4", "ledger.committed"} {
		out, exit := run(t, at)
		require.Nil(t, exit, at)
		require.Equal(t, "passed 1\npassed 2\npassed 3\n", out, at)
	}
}

func TestProcessRefusesAPointThatDoesNotExist(t *testing.T) {
	t.Parallel()
	for at, says := range map[string]string{"ledger.nowhere": "none of the points", "ledger.begun:x": "no number", "ledger.begun:0": "no number"} {
		_, exit := run(t, at)
		require.NotNil(t, exit, at)
		require.Contains(t, string(exit.Stderr), says)
	}
}
