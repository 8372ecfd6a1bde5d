package app_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/app"
	"github.com/fanmail-dev/fanmail/internal/faults"
)

func TestACommandRefusesAFaultPointThatDoesNotExist(t *testing.T) {
	t.Setenv(faults.Variable, "nowhere")
	require.ErrorContains(t, app.ArmFaults(), `FANMAIL_CRASH_AT: arm the fault point "nowhere"`)
	t.Setenv(faults.Variable, "")
	require.NoError(t, app.ArmFaults())
}
