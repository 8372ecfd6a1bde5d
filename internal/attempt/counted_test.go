package attempt

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestIdleConnectionsGiveWayWhereDescriptorsAreShort(t *testing.T) {
	t.Parallel()
	const most = 4
	p := trusting(t, nil, func(c *Config) { c.Conns = most })
	for range 3 * most {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		t.Cleanup(s.Close)
		require.True(t, p.Post(t.Context(), request(t, s.URL)).Delivered)
		// A connection becomes idle shortly after its answer.
		require.LessOrEqual(t, p.transports.dialer.conns.open.Load(), int64(2*most))
	}
	require.Eventually(t, func() bool {
		p.Close()
		return p.transports.dialer.conns.open.Load() == 0
	}, time.Minute, time.Millisecond)
}
