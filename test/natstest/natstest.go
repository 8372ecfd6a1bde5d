// Package natstest gives each test a NATS server of its own, with JetStream, on a real socket.
package natstest

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// MaxStore is what the streams of a test's server may reserve, so that no test depends on how full the disk is. They write
// some megabytes.
const MaxStore = 64 << 30

// URL starts a server and returns its URL. It has no streams yet.
func URL(t testing.TB) string {
	t.Helper()
	s, err := devserver.StartNATS(devserver.NATSOptions{Dir: t.TempDir(), MaxStore: MaxStore})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s.URL()
}

// Configured starts a server with a configuration in nats-server's own format, and
// returns its URL and the directory of JetStream's data. It has no streams yet.
func Configured(t testing.TB, config string) (url, dir string) {
	t.Helper()
	dir = t.TempDir()
	file := filepath.Join(t.TempDir(), "nats.conf")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	s, err := devserver.StartNATS(devserver.NATSOptions{Dir: dir, Config: file, MaxStore: MaxStore})
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return s.URL(), dir
}

// Connect starts a server with Fanmail's streams and connects to it.
func Connect(t testing.TB) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(URL(t))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	require.NoError(t, err)
	require.NoError(t, stream.Ensure(context.Background(), js, stream.Options{}))
	return nc, js
}

// Cluster starts three servers that form a cluster, and returns the URL of the first
// and a function that stops the other two. They have no streams yet.
func Cluster(t testing.TB) (url string, stopOthers func()) {
	t.Helper()
	var ports [3]int
	var routes string
	var held []net.Listener
	for i := range ports {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ports[i] = l.Addr().(*net.TCPAddr).Port
		routes += fmt.Sprintf("nats://127.0.0.1:%d,", ports[i])
		held = append(held, l)
	}
	for _, l := range held {
		require.NoError(t, l.Close())
	}
	var servers [3]*server.Server
	for i, port := range ports {
		s, err := server.NewServer(&server.Options{
			ServerName: fmt.Sprint("node-", i), Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: MaxStore, NoSigs: true, NoLog: true,
			Cluster: server.ClusterOpts{Name: "test", Host: "127.0.0.1", Port: port}, Routes: server.RoutesFromStr(strings.TrimSuffix(routes, ",")),
		})
		require.NoError(t, err)
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		servers[i] = s
	}
	for _, s := range servers {
		require.True(t, s.ReadyForConnections(20*time.Second))
	}
	require.Eventually(t, func() bool {
		return servers[0].JetStreamIsLeader() || servers[1].JetStreamIsLeader() || servers[2].JetStreamIsLeader()
	}, time.Minute, 10*time.Millisecond, "the cluster has a leader")
	return servers[0].ClientURL(), func() {
		for _, s := range servers[1:] {
			s.Shutdown()
			s.WaitForShutdown()
		}
	}
}
