package freeport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"syscall"
)

// Ports that [Find] gives: below those that systems give to outgoing
// connections (from 32768 on Linux, from 49152 elsewhere). A port out of that
// range can be gone before a server listens on it, or while it is started anew.
const (
	firstPort = 20_000
	ports     = 12_000
)

// nextPort is where the search goes on. Processes begin apart from each other,
// so that two of them do not find the same port before either listens on it.
var nextPort = func() *atomic.Uint64 {
	var n atomic.Uint64
	n.Store(uint64(os.Getpid()) * 89)
	return &n
}()

// Find finds a TCP port on which nobody listens on 127.0.0.1, and none that
// this process was given before. No outgoing connection will take it.
func Find() (int, error) {
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		// Not by listening on it: a process that is forked meanwhile would go on
		// doing so until it runs its program.
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
