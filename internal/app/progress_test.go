package app

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

// answering is a server for one request, whose answer has so many bytes. It tells what came of writing them.
func answering(t *testing.T, stall time.Duration, size int) (addr string, wrote <-chan error) {
	t.Helper()
	done := make(chan error, 10)
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		var err error
		for piece := make([]byte, 1<<10); size > 0 && err == nil; size -= len(piece) {
			_, err = w.Write(piece)
		}
		done <- err
	}))
	srv.Listener = whileTaken(srv.Listener, stall)
	srv.Start()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String(), done
}

func ask(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
	require.NoError(t, err)
	return c
}

// larger is more than the buffers of two sockets hold.
const larger = 64 << 20

func TestAClientThatTakesNothingIsCut(t *testing.T) {
	t.Parallel()
	addr, wrote := answering(t, 200*time.Millisecond, larger)
	c := ask(t, addr)
	select {
	case err := <-wrote:
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case <-time.After(patience):
		require.Fail(t, "the answer is held")
	}
	n, _ := io.Copy(io.Discard, c) // it ends, or is reset
	require.Less(t, n, int64(larger))
}

// It takes a little at a time, and all of it in much longer than a client may take nothing.
func TestASlowClientIsNotCutWhileItReads(t *testing.T) {
	t.Parallel()
	const stall = time.Second
	addr, wrote := answering(t, stall, larger)
	c := ask(t, addr)
	require.NoError(t, c.(*net.TCPConn).SetReadBuffer(64<<10)) // the server's own buffer holds the rest
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err)
	slow := time.NewTicker(stall / 10)
	defer slow.Stop()
	began, got := time.Now(), int64(0)
	for time.Since(began) < 5*stall {
		<-slow.C
		n, err := io.CopyN(io.Discard, resp.Body, 16<<10)
		require.NoError(t, err)
		got += n
	}
	require.Empty(t, wrote, "the answer is still being sent")
	n, err := io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.EqualValues(t, larger, got+n)
	require.NoError(t, <-wrote)
	require.NoError(t, resp.Body.Close())
}

func TestEveryServerCutsWhoeverTakesNothing(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	l, err := listen(ctx, "127.0.0.1:0", "--x", "X")
	require.NoError(t, err)
	conns, done := make(chan net.Conn, 1), make(chan error, 1)
	go func() {
		done <- serveHTTP(ctx, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conns <- c
				_ = c.Close()
			}
		}), time.Second, zap.NewNop())
	}()
	t.Cleanup(func() { stop(); require.NoError(t, <-done) })
	ask(t, l.Addr().String())
	c, ok := (<-conns).(*takenConn)
	require.True(t, ok)
	require.Equal(t, stallTimeout, c.stall)
}
