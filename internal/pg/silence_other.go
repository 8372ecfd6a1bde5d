//go:build !linux

package pg

import (
	"net"
	"time"
)

// boundUnacknowledged does nothing: the keep-alives must do.
func boundUnacknowledged(*net.TCPConn, time.Duration) error { return nil }
