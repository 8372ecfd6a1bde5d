package blobs_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/blobs/s3"
	"github.com/fanmail-dev/fanmail/test/s3test"
)

// busyServer is an S3 server behind a proxy that answers the first PUTs with 503 before it has read their body.
func busyServer(t *testing.T, busy int32) (store blobs.Store, puts *atomic.Int32) {
	t.Helper()
	config := s3test.Start(t).Config("")
	proxy := httputil.NewSingleHostReverseProxy(config.Endpoint)
	puts = &atomic.Int32{}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && puts.Add(1) <= busy {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	var err error
	config.Endpoint, err = url.Parse(front.URL)
	require.NoError(t, err)
	store, err = s3.New(config)
	require.NoError(t, err)
	return store, puts
}

// oneReader is content for one reader at a time. The first waits a moment in the middle, for a second one.
type oneReader struct {
	content []byte
	reading atomic.Bool
	waited  atomic.Bool
	second  chan struct{}
	both    atomic.Bool
}

func (o *oneReader) ReadAt(p []byte, from int64) (int, error) {
	if !o.reading.CompareAndSwap(false, true) {
		if o.both.CompareAndSwap(false, true) {
			close(o.second)
		}
		return bytes.NewReader(o.content).ReadAt(p, from)
	}
	defer o.reading.Store(false)
	if from > 1<<20 && o.waited.CompareAndSwap(false, true) {
		select {
		case <-o.second:
		case <-time.After(time.Second):
		}
	}
	return bytes.NewReader(o.content).ReadAt(p, from)
}

// TestNoTwoTriesReadABlobAtTheSameTime: the server answers while the blob is still being sent.
func TestNoTwoTriesReadABlobAtTheSameTime(t *testing.T) {
	t.Parallel()
	store, puts := busyServer(t, 2)
	content := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	o := &oneReader{content: content, second: make(chan struct{})}
	require.NoError(t, store.Put(t.Context(), "raw/2026-01-02/a", io.NewSectionReader(o, 0, int64(len(content)))))
	require.False(t, o.both.Load(), "a try read while the one before it did")
	require.EqualValues(t, 3, puts.Load())
	require.True(t, bytes.Equal(content, read(t, store, "raw/2026-01-02/a", 0)))
}

func TestAServerThatIsBusyForLongIsTriedThreeTimes(t *testing.T) {
	t.Parallel()
	store, puts := busyServer(t, 100)
	err := store.Put(t.Context(), "raw/2026-01-02/a", blobs.Bytes([]byte("one")))
	require.Equal(t, blobs.Unreachable, blobs.KindOf(err), "%v", err)
	require.ErrorContains(t, err, "503")
	require.EqualValues(t, 3, puts.Load())
}
