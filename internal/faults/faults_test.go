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

// The test program runs itself as the process that dies.
const spec = "FAULTS_TEST_SPEC"

func TestMain(m *testing.M) {
	at, child := os.LookupEnv(spec)
	if !child {
		os.Exit(m.Run())
	}
	if err := faults.Arm(at); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
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
	cmd.Env = append(os.Environ(), spec+"="+at)
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
		"outcomes.begun": "", "outcomes.begun:1": "", "outcomes.begun:3": "passed 1\npassed 2\n",
	} {
		out, exit := run(t, at)
		require.NotNil(t, exit, at)
		require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), at)
		require.Equal(t, says, out, at)
	}
}

func TestOtherPointsArePassed(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"", "outcomes.begun:4", "outcomes.committed"} {
		out, exit := run(t, at)
		require.Nil(t, exit, at)
		require.Equal(t, "passed 1\npassed 2\npassed 3\n", out, at)
	}
}

func TestArmRefusesAPointThatDoesNotExist(t *testing.T) {
	t.Parallel()
	for at, says := range map[string]string{"outcomes.nowhere": "it is none of", "outcomes.begun:x": "not a number", "outcomes.begun:0": "not a number"} {
		_, exit := run(t, at)
		require.NotNil(t, exit, at)
		require.Contains(t, string(exit.Stderr), says)
	}
}

func TestTheEnvironmentAloneArmsNobody(t *testing.T) {
	t.Setenv(faults.Variable, string(faults.OutcomesBegun))
	out, exit := run(t, "")
	require.Nil(t, exit, "an importer's program is never killed")
	require.Equal(t, "passed 1\npassed 2\npassed 3\n", out)
}
