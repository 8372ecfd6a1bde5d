package freeport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// The range of [Find] is below the ports of outgoing connections, which begin at 32768 on Linux and at
// 49152 elsewhere. A port above could be taken before a server listens on it, or during its restart.
const (
	firstPort = 20_000
	ports     = 12_000
)

// nextPort is where the search goes on. Every process begins at another port, so that two of them do
// not find the same one before either listens.
var nextPort = func() *atomic.Uint64 {
	var n atomic.Uint64
	n.Store(uint64(os.Getpid()) * 89)
	return &n
}()

// Find returns a TCP port of 127.0.0.1 on which nobody listens and which it has not returned before in
// this process. The error means that the range is used up.
func Find() (int, error) {
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		// Do not test by listening: a process that is forked meanwhile would keep the port until it
		// runs its program.
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)) //nolint:noctx // at once, on loopback
		if errors.Is(err, syscall.ECONNREFUSED) {
			return port, nil
		}
		if err == nil {
			_ = c.Close()
		}
	}
	return 0, fmt.Errorf("none of the ports %d to %d on 127.0.0.1 is free", firstPort, firstPort+ports-1)
}
