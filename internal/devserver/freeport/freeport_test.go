package freeport_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
)

func TestAPortIsFreeAndGivenOnce(t *testing.T) {
	t.Parallel()
	taken := map[int]bool{}
	listen := func(port int) {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		taken[port] = true
	}
	for range 50 {
		port, err := freeport.Find()
		require.NoError(t, err)
		require.False(t, taken[port], "port %d is taken", port)
		require.Less(t, port, 32_768, "where Linux's outgoing connections begin")
		listen(port)
		if port%7 == 0 { // and, now and then, the one after the next
			listen(port + 2)
		}
	}
}
