package milter_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/milter"
)

// TestABrokenAddressWithAPasswordIsNotShown has addresses like the URLs of other settings.
func TestABrokenAddressWithAPasswordIsNotShown(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"inet:user:hunter2@127.0.0.1:x", "unix:hunter2@/run/x", "tcp://user:hunter2@127.0.0.1:1"} {
		_, err := milter.Parse([]string{address})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "hunter2")
	}
	_, err := milter.Parse([]string{"inet:127.0.0.1"})
	require.ErrorContains(t, err, `"inet:127.0.0.1" is not inet:HOST:PORT`)
}
