package app

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/devserver"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

// TestTheBrokersNextConnectionUsesRotatedCertificates: a server that asks for
// client certificates comes back with all of them signed by another authority.
func TestTheBrokersNextConnectionUsesRotatedCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	theirs, ours := tlstest.In(dir, "server"), tlstest.In(dir, "client")
	config := filepath.Join(dir, "nats.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil,
		"tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", theirs.Cert, theirs.Key, theirs.CA), 0o600))
	_, port, err := net.SplitHostPort(closedPort(t))
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	rotate := func(serial int64) *devserver.NATS {
		authority := tlstest.New(t)
		authority.Write(theirs, serial)
		authority.Write(ours, serial+100)
		s, err := devserver.StartNATS(devserver.NATSOptions{Dir: filepath.Join(dir, "data"), Port: number, Config: config})
		require.NoError(t, err)
		return s
	}
	first := rotate(7)
	none := func(context.Context, jetstream.JetStream) error { return nil }
	nc, _, err := connectBroker(t.Context(), NATS{
		URL: "tls://127.0.0.1:" + port, CA: ours.CA, Cert: ours.Cert, Key: ours.Key,
	}, "publisher", none, zap.NewNop())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	serial := func() int64 {
		state, err := nc.TLSConnectionState()
		if err != nil || !nc.IsConnected() {
			return 0
		}
		return state.PeerCertificates[0].SerialNumber.Int64()
	}
	require.Equal(t, int64(7), serial())

	again := nc.StatusChanged(nats.CONNECTED) // asking while it connects is a race inside the client
	first.Stop()
	second := rotate(8)
	t.Cleanup(second.Stop)
	select {
	case <-again:
	case <-time.After(time.Minute):
		require.Fail(t, "it has not connected again")
	}
	require.Eventually(t, nc.IsConnected, time.Minute, time.Millisecond)
	require.Equal(t, int64(8), serial(), "it trusts the new and is trusted")
	require.NoError(t, nc.Flush())
}
