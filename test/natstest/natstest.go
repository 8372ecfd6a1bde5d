// Package natstest gives each test a NATS server of its own, with JetStream, on a real socket.
package natstest

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// URL starts a server and returns its URL. It has no streams yet.
func URL(t testing.TB) string {
	t.Helper()
	s, err := devserver.StartNATS(devserver.NATSOptions{Dir: t.TempDir()})
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
	s, err := devserver.StartNATS(devserver.NATSOptions{Dir: dir, Config: file})
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
