package pg

import (
	"context"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// unacknowledged is how long a peer may acknowledge nothing that was sent to it.
const unacknowledged = 30 * time.Second

// keepAlive finds out within 30 s that an idle connection has lost its peer.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

// endSilence makes connections end whose peer is gone without a word, such as a host that lost its power. Left to itself, the
// kernel sends again for a quarter of an hour, and whoever waits for an answer waits as long. The pool's own way to dial stays.
// A server that acknowledges and does not answer is left to the callers' contexts.
func endSilence(cfg *pgxpool.Config) {
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if tcp, ok := conn.(*net.TCPConn); ok && err == nil {
			// A system that refuses keeps its own limits.
			_ = tcp.SetKeepAliveConfig(keepAlive)
			_ = boundUnacknowledged(tcp, unacknowledged)
		}
		return conn, err
	}
}
