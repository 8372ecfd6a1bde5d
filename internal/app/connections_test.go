package app

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestAnAddressHasABoundedNumberOfConnections(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	inner, err := listen(ctx, "127.0.0.1:0", "--x", "X")
	require.NoError(t, err)
	refused := prometheus.NewCounter(prometheus.CounterOpts{Name: "refused"})
	done := make(chan error, 1)
	go func() {
		done <- serveHTTP(ctx, limitConnections(inner, 2, refused), http.NotFoundHandler(), time.Second, zap.NewNop())
	}()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		return c
	}
	status := func(c net.Conn) int {
		_, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	first, second := dial(), dial()
	defer func() { _ = first.Close(); _ = second.Close() }()
	require.Equal(t, 404, status(first))
	require.Equal(t, 404, status(second))

	third := dial()
	resp, err := http.ReadResponse(bufio.NewReader(third), nil) // it comes without a request
	require.NoError(t, err)
	require.Equal(t, 429, resp.StatusCode)
	var problem struct{ Detail string }
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&problem))
	require.Contains(t, problem.Detail, "FANMAIL_MAX_CONNECTIONS_PER_ADDRESS")
	require.NoError(t, third.Close())
	require.InEpsilon(t, 1, testutil.ToFloat64(refused), 0)
	require.Equal(t, 404, status(first), "those that are open stay")

	require.NoError(t, second.Close())
	require.Eventually(t, func() bool {
		c := dial()
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
			return false
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err == nil && resp.Body.Close() == nil && resp.StatusCode == 404
	}, patience, 5*time.Millisecond, "a closed connection counts no more")
}

func TestAnIPv6ClientCountsByItsNetwork(t *testing.T) {
	t.Parallel()
	of := func(ip string) any { return network(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}) }
	require.Equal(t, of("2001:db8::1"), of("2001:db8::ffff:1"))
	require.NotEqual(t, of("2001:db8::1"), of("2001:db8:0:1::1"))
	require.NotEqual(t, of("192.0.2.1"), of("192.0.2.2"))
	require.Equal(t, of("192.0.2.1"), of("::ffff:192.0.2.1"))
	require.Equal(t, network(&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}), of("fe80::1"))
}

func TestTheLogLevelIsSetFromThisMachineAlone(t *testing.T) {
	t.Parallel()
	log, err := Logging{}.Logger()
	require.NoError(t, err)
	h := (&status{}).handler(prometheus.NewRegistry(), log, false)
	put := func(from string, headers ...string) int {
		r := httptest.NewRequest(http.MethodPut, "/loglevel", strings.NewReader(`{"level":"debug"}`))
		r.RemoteAddr = from
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w.Code
	}
	for _, from := range []string{"10.0.0.9:1", "192.0.2.1:80", "127.0.0.6:1", "[2001:db8::1]:1", "[fe80::1%eth0]:1", "", "pipe"} {
		require.Equal(t, 403, put(from), from)
	}
	for _, header := range []string{"X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"} {
		require.Equal(t, 403, put("127.0.0.1:1", header, "10.0.0.9"), header)
	}
	require.False(t, log.Core().Enabled(zap.DebugLevel), "nothing of this has set it")
	for _, from := range []string{"127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"} {
		require.Equal(t, 200, put(from), from)
	}
	require.True(t, log.Core().Enabled(zap.DebugLevel))
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/loglevel", nil)
	r.RemoteAddr = "10.0.0.9:1"
	h.ServeHTTP(w, r)
	require.Equal(t, 200, w.Code, "reading it tells nothing")
}

// A body that does not come holds no connection.
func TestTheStatusServerWaitsForNoBody(t *testing.T) {
	t.Parallel()
	log, err := Logging{}.Logger()
	require.NoError(t, err)
	srv := httptest.NewServer((&status{}).handler(prometheus.NewRegistry(), log, false))
	t.Cleanup(srv.Close)
	for _, request := range []string{"PUT /loglevel", "GET /metrics", "POST /nothing"} {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
		_, err = c.Write([]byte(request + " HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"))
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.True(t, resp.Close, request)
		require.NoError(t, resp.Body.Close())
		require.NoError(t, c.Close())
	}
}
