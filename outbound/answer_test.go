package outbound

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRetryAfterIsReadAsSecondsOrDate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, 90*time.Second, RetryAfter("90", now))
	require.Equal(t, time.Hour, RetryAfter(now.Add(time.Hour).Format(http.TimeFormat), now))
	require.Equal(t, MaxRetryAfter, RetryAfter("99999999999", now), "up to a day")
	for _, none := range []string{"", "soon", "-5", now.Add(-time.Hour).Format(http.TimeFormat)} {
		require.Zero(t, RetryAfter(none, now), none)
	}
}
