package sink_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/sink"
)

const body = `{"type":"email.received","id":"evt_1"}`

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// client has a connection pool of its own and follows no redirects.
func client(t testing.TB) *http.Client {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func request(ctx context.Context, t testing.TB, url, secret string, attempt int) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set(sink.HeaderDelivery, "whd_1")
	r.Header.Set(sink.HeaderAttempt, strconv.Itoa(attempt))
	if secret != "" {
		signer, err := signature.NewSigner(secret)
		require.NoError(t, err)
		signer.Sign(r.Header, "evt_1", time.Now(), []byte(body))
	}
	return r
}

// post returns the status and the body of the answer, or the error.
func post(t *testing.T, s *sink.Sink, path string) (int, string, error) {
	t.Helper()
	resp, err := client(t).Do(request(within(t), t, s.URL(path), "", 1))
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func TestRecordHoldsWhatArrived(t *testing.T) {
	t.Parallel()
	s, secret := sink.New(t), signature.NewSecret()
	s.Secret("/a", secret)
	before := time.Now()
	resp, err := client(t).Do(request(within(t), t, s.URL("/a"), secret, 3))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)

	posts := s.Posts(0)
	require.Len(t, posts, 1)
	p := posts[0]
	require.NoError(t, p.VerifyErr)
	require.Equal(t, sink.Call{Path: "/a", N: 1, EventID: "evt_1", DeliveryID: "whd_1", Attempt: 3}, p.Call)
	require.Equal(t, http.MethodPost, p.Method)
	require.Equal(t, []byte(body), p.Body)
	require.NotEmpty(t, p.Header.Get(signature.HeaderE2A))
	require.WithinRange(t, p.At, before, time.Now())
}

func TestEachJudgeRefuses(t *testing.T) {
	t.Parallel()
	secret := signature.NewSecret()
	for name, c := range map[string]struct {
		spoil func(*http.Request)
		says  string
	}{
		"another body": {func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader("{}")), 2
		}, "signature.Verify"},
		"one scheme only":    {func(r *http.Request) { r.Header.Del(signature.HeaderE2A) }, signature.ErrMissing.Error()},
		"no standard scheme": {func(r *http.Request) { r.Header.Del(signature.HeaderSignature) }, "standard webhooks"},
		"another id":         {func(r *http.Request) { r.Header.Set(signature.HeaderID, "evt_2") }, "standard webhooks"},
		"X-E2A spoilt":       {func(r *http.Request) { r.Header.Set(signature.HeaderE2A, "t=1,v1=00") }, "X-E2A-Signature"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sink.New(t)
			s.Secret("/a", secret)
			r := request(within(t), t, s.URL("/a"), secret, 1)
			c.spoil(r)
			resp, err := client(t).Do(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.ErrorContains(t, s.Posts(0)[0].VerifyErr, c.says)
		})
	}
}

func TestPathWithoutSecretIsNotVerified(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	_, _, err := post(t, s, "/a")
	require.NoError(t, err)
	require.ErrorIs(t, s.Posts(0)[0].VerifyErr, sink.ErrNoSecret)
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	s.Script("/status", sink.Status(http.StatusTeapot))
	s.Script("/redirect", sink.Redirect(http.StatusFound, s.URL("/elsewhere")))
	s.Script("/retry-after", sink.RetryAfter(http.StatusTooManyRequests, 7))
	s.Script("/body", sink.Always(sink.Answer{Body: []byte("hello"), Delay: time.Millisecond}))
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"/none": {200, ""}, "/status": {418, ""}, "/redirect": {302, ""}, "/retry-after": {429, ""}, "/body": {200, "hello"},
	} {
		status, b, err := post(t, s, path)
		require.NoError(t, err, path)
		require.Equal(t, want.status, status, path)
		require.Equal(t, want.body, b, path)
	}
	require.Zero(t, s.CountTo("/elsewhere"), "the client was asked not to follow")

	resp, err := client(t).Do(request(within(t), t, s.URL("/retry-after"), "", 1))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "7", resp.Header.Get("Retry-After"))
}

func TestAnswersThatAreNone(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	s.Script("/reset", sink.Always(sink.Answer{Reset: true}))
	s.Script("/garbage", sink.Always(sink.Answer{Garbage: true}))
	_, _, err := post(t, s, "/reset")
	require.ErrorContains(t, err, "connection reset")
	_, _, err = post(t, s, "/garbage")
	require.ErrorContains(t, err, "malformed HTTP")
	require.Equal(t, 1, s.CountTo("/reset"), "recorded all the same")
}

func TestEndlessBodyEndsWithTheClient(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	s.Script("/endless", sink.Always(sink.Answer{Endless: true}))
	resp, err := client(t).Do(request(within(t), t, s.URL("/endless"), "", 1))
	require.NoError(t, err)
	_, err = io.CopyN(io.Discard, resp.Body, 4<<20)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Eventually(t, func() bool { now, _ := s.InFlight("/endless"); return now == 0 }, time.Minute, time.Millisecond)
}

func TestFailFirstAndFailAttempts(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	s.Script("/first", sink.FailFirst(2, sink.Answer{Status: 503}))
	s.Script("/attempts", sink.FailAttempts(1, sink.Answer{Status: 500}))
	var first, attempts []int
	for i := 1; i <= 3; i++ {
		status, _, err := post(t, s, "/first")
		require.NoError(t, err)
		first = append(first, status)
		resp, err := client(t).Do(request(within(t), t, s.URL("/attempts"), "", i))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		attempts = append(attempts, resp.StatusCode)
	}
	require.Equal(t, []int{503, 503, 200}, first)
	require.Equal(t, []int{500, 200, 200}, attempts)
}

func TestHangingRequestsAreCountedInFlightUntilReleased(t *testing.T) {
	t.Parallel()
	s, release := sink.New(t), make(chan struct{})
	s.Script("/hang", sink.Hang(release))
	c, ctx := client(t), within(t)
	statuses := make(chan int, 5)
	for range 5 {
		r := request(ctx, t, s.URL("/hang"), "", 1)
		go func() {
			resp, err := c.Do(r)
			if err != nil {
				statuses <- 0
				return
			}
			_ = resp.Body.Close()
			statuses <- resp.StatusCode
		}()
	}
	require.NoError(t, s.WaitForPath(ctx, "/hang", 5))
	now, most := s.InFlight("/hang")
	require.Equal(t, 5, now)
	require.Equal(t, 5, most)
	require.Empty(t, statuses, "nobody is answered before the release")
	close(release)
	for range 5 {
		require.Equal(t, http.StatusOK, <-statuses)
	}
	_, _, err := post(t, s, "/other")
	require.NoError(t, err)
	_, most = s.InFlight("/other")
	require.Equal(t, 1, most, "paths are counted apart")
}

func TestCloseEndsHangingRequestsAndWaits(t *testing.T) {
	t.Parallel()
	s, err := sink.Start(sink.Options{})
	require.NoError(t, err)
	s.Script("/hang", sink.Hang(make(chan struct{})))
	c, failed := client(t), make(chan error, 1)
	r := request(within(t), t, s.URL("/hang"), "", 1)
	go func() {
		resp, err := c.Do(r)
		if err == nil {
			err = resp.Body.Close()
		}
		failed <- err
	}()
	require.NoError(t, s.WaitFor(within(t), 1))
	waits := make(chan error, 1)
	go func() { waits <- s.WaitFor(context.Background(), 2) }()
	s.Close()
	require.Error(t, <-failed)
	require.ErrorIs(t, <-waits, sink.ErrClosed)
	s.Close() // a second time does nothing
	require.Len(t, s.Posts(0), 1, "the record outlives the server")
}

func TestWaitForSaysHowManyCame(t *testing.T) {
	t.Parallel()
	s := sink.New(t)
	_, _, err := post(t, s, "/a")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = s.WaitFor(ctx, 2)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "wait for 2 requests, 1 came")
}

func TestManyClientsAtOnceAreAllRecordedOnce(t *testing.T) {
	t.Parallel()
	const clients, each = 8, 100
	for _, keep := range []sink.Keep{sink.KeepAll, sink.KeepTimes, sink.KeepCounts} {
		t.Run(fmt.Sprint(keep), func(t *testing.T) {
			t.Parallel()
			s, err := sink.Start(sink.Options{Keep: keep})
			require.NoError(t, err)
			t.Cleanup(s.Close)
			c, ctx := client(t), within(t)
			var wg sync.WaitGroup
			for i := range clients {
				reqs := make([]*http.Request, each)
				for j := range reqs {
					reqs[j] = request(ctx, t, s.URL("/"+strconv.Itoa(i%2)), "", i*each+j)
				}
				wg.Go(func() {
					for _, r := range reqs {
						resp, err := c.Do(r)
						if err == nil {
							_ = resp.Body.Close()
						}
					}
				})
			}
			require.NoError(t, s.WaitFor(ctx, clients*each), "waits while they send")
			wg.Wait()
			require.Equal(t, clients*each, s.Count())
			require.Equal(t, clients*each/2, s.CountTo("/1"))
			posts := s.Posts(0)
			if keep == sink.KeepCounts {
				require.Empty(t, posts)
				return
			}
			attempts := map[int]bool{}
			for _, p := range posts {
				attempts[p.Attempt] = true
				require.Equal(t, keep == sink.KeepAll, bytes.Equal(p.Body, []byte(body)))
			}
			require.Len(t, attempts, clients*each)
			require.Len(t, s.Posts(10), clients*each-10)
			require.Empty(t, s.Posts(clients*each))
		})
	}
}

func BenchmarkCounts(b *testing.B) {
	s, err := sink.Start(sink.Options{Keep: sink.KeepCounts})
	require.NoError(b, err)
	b.Cleanup(s.Close)
	c := client(b)
	payload := strings.Repeat("x", 2<<10)
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			r, _ := http.NewRequestWithContext(context.Background(), http.MethodPost, s.URL("/a"), strings.NewReader(payload))
			resp, err := c.Do(r)
			if err != nil {
				b.Error(err)
				return
			}
			_ = resp.Body.Close()
		}
	})
}
