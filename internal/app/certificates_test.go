package app

import (
	"context"
	"crypto/tls"
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
	"go.uber.org/zap/zaptest/observer"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/secret"
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
	nc, _, err := awaitBroker(t.Context(), NATS{
		URL: secret.Text("tls://127.0.0.1:" + port), CA: ours.CA, Cert: ours.Cert, Key: ours.Key,
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

// TestSTARTTLSUsesARotatedCertificate: and in the middle of a replacement, the
// one from before.
func TestSTARTTLSUsesARotatedCertificate(t *testing.T) {
	t.Parallel()
	files := tlstest.In(t.TempDir(), "smtp")
	authority := tlstest.New(t)
	authority.Write(files, 7)
	core, logs := observer.New(zap.WarnLevel)
	config, err := (&SMTP{TLSCert: files.Cert, TLSKey: files.Key}).tls(zap.New(core))
	require.NoError(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).HandshakeContext(t.Context())
			_ = conn.Close()
		}
	}()
	serial := func() int64 {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	require.Equal(t, int64(7), serial())
	authority.Write(files, 8)
	require.Equal(t, int64(8), serial())
	require.Empty(t, logs.All())
	require.NoError(t, os.Truncate(files.Key, 0))
	require.Equal(t, int64(8), serial())
	require.Equal(t, 1, logs.Len())
	authority.Write(files, 9)
	require.Equal(t, int64(9), serial())
}
