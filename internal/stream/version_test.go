package stream_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

func TestOlderComparesVersionsByTheirNumbers(t *testing.T) {
	t.Parallel()
	for _, v := range []string{"1.99.99", "2.2.50", "2.11.10", "2.12.0", "2.12.2", "2.12.2-RC.1"} {
		require.True(t, stream.Older(v, stream.Oldest), v)
	}
	for _, v := range []string{"2.12.3", "2.12.3-RC.1", "2.12.10", "2.13.0", "3.0.0", "", "2", "2.12", "main", "v2.11.0"} {
		require.False(t, stream.Older(v, stream.Oldest), v)
	}
}
