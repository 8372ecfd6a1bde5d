package attempt

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/endpoint"
	"github.com/fanmail-dev/fanmail/test/tlstest"
)

// handshakes counts those of a server that closes each connection after one answer.
type handshakes struct{ full, resumed atomic.Int32 }

func (h *handshakes) serve(t *testing.T, c *tls.Config) (port string) {
	t.Helper()
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if s.DidResume {
			h.resumed.Add(1)
		} else {
			h.full.Add(1)
		}
		return nil
	}
	addr := receiver(t, func(_ int, conn net.Conn) {
		secured := tls.Server(conn, c)
		defer func() { _ = secured.Close() }()
		if readRequest(bufio.NewReader(secured)) {
			_, _ = io.WriteString(secured, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
	})
	return addr[strings.LastIndexByte(addr, ':')+1:]
}

func TestANewConnectionResumesTheTLSSession(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	clients := tlstest.New(t)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var h handshakes
		port := h.serve(t, &tls.Config{
			Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12, MaxVersion: version, ClientAuth: tls.RequestClientCert,
		})
		c := Config{Timeout: time.Minute, AllowNetworks: loopback, roots: x509.NewCertPool()}
		c.roots.AddCert(s.Certificate())
		p := newPoster(c, resolver(t, func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("127.0.0.1")} }))
		t.Cleanup(p.Close)
		post := func(host string, settings endpoint.Settings) {
			t.Helper()
			got := p.Post(t.Context(), withSettings(t, request(t, "https://"+host+":"+port+"/"), settings, 0))
			require.True(t, got.Delivered, "%s %s", got.Error, got.Detail)
		}
		full := int32(0)
		// Each of these differs from all others in its name, its CA or its client certificate.
		one, oneKey, _ := pair(t, clients, "one", 1)
		two, twoKey, _ := pair(t, clients, "two", 2)
		for _, each := range []struct {
			host     string
			settings endpoint.Settings
		}{
			{"127.0.0.1", endpoint.Settings{}},
			{"example.com", endpoint.Settings{}},
			{"example.com", endpoint.Settings{CA: ca}},
			{"example.com", endpoint.Settings{Auth: &endpoint.Auth{Type: endpoint.MTLS, Certificate: one, PrivateKey: oneKey}}},
			{"example.com", endpoint.Settings{Auth: &endpoint.Auth{Type: endpoint.MTLS, Certificate: two, PrivateKey: twoKey}}},
		} {
			resumed := h.resumed.Load()
			for range 4 {
				post(each.host, each.settings)
			}
			full++
			require.Equal(t, full, h.full.Load(), "one full handshake for %s", each.host)
			require.Equal(t, resumed+3, h.resumed.Load())
		}
		post("127.0.0.1", endpoint.Settings{})
		require.Equal(t, full, h.full.Load(), "the session of the shared connections is still there")
	}
}

func TestALargeTLSSessionIsNotKept(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	chain := s.TLS.Certificates[0]
	for size := 0; size < sessionBytes; size += len(chain.Certificate[0]) {
		chain.Certificate = append(chain.Certificate, chain.Certificate[0])
	}
	var h handshakes
	port := h.serve(t, &tls.Config{Certificates: []tls.Certificate{chain}, MinVersion: tls.VersionTLS12})
	p := trusting(t, s, nil)
	for n := range int32(3) {
		require.True(t, p.Post(t.Context(), request(t, "https://127.0.0.1:"+port+"/")).Delivered)
		require.Equal(t, n+1, h.full.Load())
	}
}
