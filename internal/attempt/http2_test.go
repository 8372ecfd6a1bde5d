package attempt

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// padded adds headers of a size in bytes, in fields of 1 KiB or in one.
func padded(h http.Header, size int, one bool) {
	if one {
		h.Set("X-Padding", strings.Repeat("p", size))
		return
	}
	for i := range size / 1024 {
		h.Set("X-Padding-"+strconv.Itoa(i), strings.Repeat("p", 1000))
	}
}

func TestAStatusOverHTTP2CountsWithAnyHeadersUpToTheLimit(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.URL.Query().Get("status"))
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		_, _ = io.Copy(io.Discard, r.Body)
		switch r.URL.Path {
		case "/early":
			padded(w.Header(), size, false)
			w.WriteHeader(http.StatusEarlyHints)
			clear(w.Header())
			w.WriteHeader(status)
		case "/trailers":
			w.WriteHeader(status)
			_, _ = io.WriteString(w, "the body")
			w.Header().Set(http.TrailerPrefix+"X-Padding", strings.Repeat("p", size))
		default:
			padded(w.Header(), size, r.URL.Path == "/one")
			w.Header().Set("Retry-After", "17")
			w.WriteHeader(status)
		}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	p := trusting(t, s, nil)
	for _, path := range []string{"/many", "/one", "/early", "/trailers"} {
		for _, size := range []int{1 << 10, 20 << 10, 70 << 10, 300 << 10, 900 << 10} {
			for _, status := range []int{200, 204, 304, 503} {
				if path == "/trailers" && (status == 204 || status == 304) {
					continue // they have no body that trailers could follow
				}
				got := p.Post(t.Context(), request(t, fmt.Sprintf("%s%s?size=%d&status=%d", s.URL, path, size, status)))
				require.Equal(t, status, got.StatusCode, "%s of %d: %s %s", path, size, got.Error, got.Detail)
				require.Equal(t, status < 300, got.Delivered)
				if status == 503 && (path == "/many" || path == "/one") {
					require.Equal(t, 17*time.Second, got.RetryAfter)
				}
			}
		}
	}
	for _, path := range []string{"/many", "/one"} {
		for _, size := range []int{headerBytes + 8<<10, 4 * headerBytes} {
			got := p.Post(t.Context(), request(t, fmt.Sprintf("%s%s?status=200&size=%d", s.URL, path, size)))
			require.Equal(t, ReasonConnection, got.Reason)
			require.Contains(t, got.Error, "1 MiB of headers", got.Detail)
			require.True(t, p.Post(t.Context(), request(t, s.URL+"/one?status=200&size=1")).Delivered)
		}
	}
}

// framed is a server of HTTP/2 that writes its frames by hand. answer is called at the end
// of each request.
func framed(t *testing.T, certificate tls.Certificate, answer func(fr *http2.Framer, stream uint32)) string {
	t.Helper()
	return "https://" + receiver(t, func(_ int, conn net.Conn) {
		secured := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12})
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(secured, preface); err != nil {
			return
		}
		fr := http2.NewFramer(secured, secured)
		_ = fr.WriteSettings()
		for {
			f, err := fr.ReadFrame()
			if err != nil {
				return
			}
			switch f := f.(type) {
			case *http2.SettingsFrame:
				if !f.IsAck() {
					_ = fr.WriteSettingsAck()
				}
			case *http2.DataFrame:
				if f.StreamEnded() {
					answer(fr, f.StreamID)
				}
			}
		}
	}) + "/"
}

func block(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true}) // literals that are never indexed
	}
	return b.Bytes()
}

func TestAnswersInManyFramesOfHTTP2(t *testing.T) {
	t.Parallel()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(s.Close)
	long := strings.Repeat("y", 300<<10)
	for name, frame := range map[string]int{"of 16 KiB": 16 << 10, "of 100 bytes": 100} {
		url := framed(t, s.TLS.Certificates[0], func(fr *http2.Framer, stream uint32) {
			_ = fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block(":status", "103", "link", "x"), EndHeaders: true})
			head := block(":status", "202", "x-padding", long)
			_ = fr.WriteHeaders(http2.HeadersFrameParam{
				StreamID: stream, BlockFragment: head[:1], EndStream: true, PadLength: 9, Priority: http2.PriorityParam{Weight: 3},
			})
			for head = head[1:]; len(head) > frame; head = head[frame:] {
				_ = fr.WriteContinuation(stream, false, head[:frame])
			}
			_ = fr.WriteContinuation(stream, true, head)
		})
		p := trusting(t, s, nil)
		for range 2 {
			got := p.Post(t.Context(), request(t, url))
			require.Equal(t, 202, got.StatusCode, "frames %s: %s %s", name, got.Error, got.Detail)
			require.True(t, got.Delivered)
		}
	}
}

func TestConnectionsOfHTTP2AreBounded(t *testing.T) {
	t.Parallel()
	protocols := make(chan string, 1)
	var servers [3]*httptest.Server
	for i := range servers {
		servers[i] = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { protocols <- r.Proto }))
		servers[i].EnableHTTP2 = true
		servers[i].StartTLS()
		t.Cleanup(servers[i].Close)
	}
	p := trusting(t, servers[0], func(c *Config) { c.HTTP2Conns = 2 })
	for i, want := range []string{"HTTP/2.0", "HTTP/2.0", "HTTP/1.1"} {
		require.True(t, p.Post(t.Context(), request(t, servers[i].URL)).Delivered)
		require.Equal(t, want, <-protocols)
	}
	require.Eventually(t, func() bool {
		p.Close()
		return p.transports.dialer.conns.http2.Load() == 0
	}, time.Minute, time.Millisecond)
	require.True(t, p.Post(t.Context(), request(t, servers[2].URL)).Delivered)
	require.Equal(t, "HTTP/2.0", <-protocols)
}
