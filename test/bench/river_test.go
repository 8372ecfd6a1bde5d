package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanmail-dev/fanmail/test/sink"
)

func TestRiverDeliversSignedAndTriesAgain(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	dir, err := os.MkdirTemp("", "fanmail-bench-test-") //nolint:usetesting // Postgres's user can't walk through the test's own
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	s := sink.New(t)
	s.Script("/wide/1", sink.FailFirst(1, sink.Answer{Status: http.StatusInternalServerError}))
	r := &River{workers: riverWorkers}
	require.NoError(t, r.Start(ctx, dir, &Workload{}))
	endpoints := each("wide", 2, Answer{})
	for i := range endpoints {
		endpoints[i].Target, endpoints[i].URL = target("wide", 0), s.URL(endpoints[i].Path)
	}
	require.NoError(t, r.Subscribe(ctx, endpoints))
	for url, secret := range riverSecrets(t, r) {
		s.Secret(url[len(s.URL("")):], secret)
	}
	before, err := r.Usage(ctx)
	require.NoError(t, err)
	// Few jobs are inserted in another way than many.
	var ids []string
	for _, n := range []int{1, 5} {
		var evs []Event
		for i := range n {
			evs = append(evs, newEvent(i, target("wide", 0)))
		}
		more, err := r.Accept(ctx, evs)
		require.NoError(t, err)
		ids = append(ids, more...)
	}
	require.NoError(t, r.Settle(ctx))
	want := map[Delivery]bool{}
	for _, id := range ids {
		want[Delivery{id, "/wide/0"}], want[Delivery{id, "/wide/1"}] = true, true
	}
	got := map[Delivery]bool{}
	for _, p := range s.Posts(0) {
		require.NoError(t, p.VerifyErr)
		got[Delivery{p.EventID, p.Path}] = true
	}
	require.Equal(t, want, got)
	require.Equal(t, 13, s.Count(), "one was sent again")
	after, err := r.Usage(ctx)
	require.NoError(t, err)
	require.Greater(t, after.Written["postgres"], before.Written["postgres"])
	require.Contains(t, after.CPU, "worker")
	held, err := r.Memory()
	require.NoError(t, err)
	require.Positive(t, held["worker"])
	require.Positive(t, held["postgres"])
	require.NoError(t, r.Stop(ctx))
}

func riverSecrets(t *testing.T, r *River) map[string]string {
	t.Helper()
	rows, err := r.pg.pool.Query(t.Context(), `SELECT url, secret FROM endpoints`)
	require.NoError(t, err)
	out := map[string]string{}
	for rows.Next() {
		var url, secret string
		require.NoError(t, rows.Scan(&url, &secret))
		out[url] = secret
	}
	require.NoError(t, rows.Err())
	return out
}

func TestReceiverAnswersAsTold(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	rec, err := startReceiver(ctx, &Names{}, t.TempDir())
	require.NoError(t, err)
	t.Cleanup(rec.stop)
	slow := time.Millisecond
	require.NoError(t, rec.answers(ctx, []Endpoint{
		{Path: "/hangs", Answer: Answer{Hang: true}},
		{Path: "/fails", Answer: Answer{FailFor: time.Hour}},
		{Path: "/returns", Answer: Answer{FailFor: slow}},
		{Path: "/slow", Answer: Answer{Delay: slow}},
		{Path: "/refuses", Answer: Answer{Refuse: 1}},
	}))
	post := func(ctx context.Context, path string) (int, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, rec.URL+path, nil)
		require.NoError(t, err)
		req.Header.Set("Webhook-Id", "evt")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	for path, want := range map[string]int{"/well": http.StatusOK, "/slow": http.StatusOK, "/fails": http.StatusInternalServerError} {
		code, err := post(ctx, path)
		require.NoError(t, err)
		require.Equal(t, want, code, path)
	}
	for _, want := range []int{http.StatusServiceUnavailable, http.StatusOK, http.StatusOK} {
		code, err := post(ctx, "/refuses")
		require.NoError(t, err)
		require.Equal(t, want, code, "an event's first request alone is refused")
	}
	require.Eventually(t, func() bool {
		code, err := post(ctx, "/returns")
		return err == nil && code == http.StatusOK
	}, time.Minute, time.Millisecond)
	before, err := rec.arrivals(ctx, 0)
	require.NoError(t, err)
	hanging, giveUp := context.WithCancel(ctx)
	gone := make(chan error, 1)
	go func() {
		_, err := post(hanging, "/hangs")
		gone <- err
	}()
	require.NoError(t, rec.wait(ctx, len(before)+1))
	// Time enough for an answer, if there were one.
	_, err = post(ctx, "/well")
	require.NoError(t, err)
	require.Empty(t, gone)
	giveUp()
	require.ErrorIs(t, <-gone, context.Canceled)
	last, err := rec.arrivals(ctx, len(before))
	require.NoError(t, err)
	require.Len(t, last, 2)
	require.Equal(t, Delivery{"evt", "/hangs"}, last[0].Delivery)
	require.False(t, last[0].At.IsZero())
}

func TestProfileIsFetchedOrItsLackTold(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/profile", func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.URL.Query().Get("seconds")))
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	file := filepath.Join(t.TempDir(), "new", "x.pprof")
	require.NoError(t, fetchProfile(t.Context(), srv.URL, 3*time.Second, file))
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "3", string(b))
	bare := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(bare.Close)
	require.ErrorIs(t, fetchProfile(t.Context(), bare.URL, time.Second, file), errNoProfiles)
}
