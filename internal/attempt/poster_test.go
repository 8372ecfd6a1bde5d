package attempt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

func poster(t *testing.T, timeout time.Duration) *Poster {
	t.Helper()
	p := NewPoster(Config{
		Timeout: timeout, UserAgent: "Fanmail/1 (test)", AllowHTTP: true,
		AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
	})
	t.Cleanup(p.Close)
	return p
}

func request(t *testing.T, to string) Request {
	t.Helper()
	u, err := url.Parse(to)
	require.NoError(t, err)
	body := []byte(`{"subject":"hello"}`)
	return Request{URL: u, Header: http.Header{HeaderAttempt: {"3"}}, Body: Bytes(body), Length: int64(len(body))}
}

func TestAPostCarriesHeadersAndBodyAndReturnsTheAnswer(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	s.Script("/a", sink.RetryAfter(http.StatusTooManyRequests, 90))
	r := poster(t, time.Minute).Post(t.Context(), request(t, s.URL("/a")))
	require.False(t, r.Delivered)
	require.Equal(t, http.StatusTooManyRequests, r.StatusCode)
	require.Equal(t, ReasonLimited, r.Reason)
	require.Equal(t, "answered 429", r.Error)
	require.Equal(t, 90*time.Second, r.RetryAfter)
	require.True(t, r.Overload())
	require.False(t, r.Slow())
	p := s.Posts(0)[0]
	require.JSONEq(t, `{"subject":"hello"}`, string(p.Body))
	require.Equal(t, "application/json", p.Header.Get("Content-Type"))
	require.Equal(t, "Fanmail/1 (test)", p.Header.Get("User-Agent"))
	require.Equal(t, "3", p.Header.Get(HeaderAttempt))

	r = poster(t, time.Minute).Post(t.Context(), request(t, s.URL("/b")))
	require.True(t, r.Delivered, r.Error)
	require.Equal(t, ReasonOK, r.Reason)
	require.Empty(t, r.Error)
}

func TestATimeoutNamesItsLimit(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	hold := make(chan struct{})
	defer close(hold)
	s.Script("/hangs", sink.Hang(hold))
	r := poster(t, 50*time.Millisecond).Post(t.Context(), request(t, s.URL("/hangs")))
	require.Equal(t, ReasonTimeout, r.Reason)
	require.Equal(t, "no complete answer within 0.05 s", r.Error)
	require.Zero(t, r.StatusCode)
}

func TestTheCauseOfACancellationDecidesWhetherTheAttemptCounts(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	hold := make(chan struct{})
	defer close(hold)
	s.Script("/hangs", sink.Hang(hold))
	for cause, reason := range map[error]string{ErrStopped: ReasonStopped, errors.New("left"): ReasonTimeout} {
		ctx, cancel := context.WithCancelCause(t.Context())
		before := s.Count()
		done := make(chan Result, 1)
		go func() { done <- poster(t, time.Minute).Post(ctx, request(t, s.URL("/hangs"))) }()
		require.NoError(t, s.WaitFor(t.Context(), before+1))
		cancel(cause)
		r := <-done
		require.Equal(t, reason, r.Reason, cause.Error())
		require.Equal(t, reason == ReasonStopped, r.Stopped())
	}
}

// The lease is asked for again when the header is ready, however long dialling
// or the body take.
func TestNothingIsSentOnceTheLeaseHasRunOut(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	p := poster(t, time.Minute)
	var valid atomic.Bool
	r := request(t, s.URL("/a"))
	r.LeaseValid = valid.Load
	for n := range 2 { // on a new connection, and on one that is kept alive
		valid.Store(false)
		got := p.Post(t.Context(), r)
		require.True(t, got.Stopped())
		require.Equal(t, ErrLeaseLost.Error(), got.Error)
		require.Equal(t, n, s.Count())
		valid.Store(true)
		got = p.Post(t.Context(), r)
		require.True(t, got.Delivered, got.Error)
		require.Equal(t, n+1, s.Count())
	}
}

// Latency leaves out what comes before the endpoint has the request: a
// handshake must not look like a queue.
func TestLatencyIsMeasuredOnTheConnection(t *testing.T) {
	t.Parallel()
	const handshake = 300 * time.Millisecond
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		<-time.After(handshake)
		return nil, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	c := Config{Timeout: time.Minute, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, roots: x509.NewCertPool()}
	c.roots.AddCert(s.Certificate())
	p := NewPoster(c)
	t.Cleanup(p.Close)
	got := p.Post(t.Context(), request(t, s.URL))
	require.True(t, got.Delivered, got.Error)
	require.GreaterOrEqual(t, got.Duration-got.Latency, handshake)
	require.Positive(t, got.Latency)
}
