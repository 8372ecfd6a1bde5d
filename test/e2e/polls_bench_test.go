package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// BenchmarkWaitingPolls holds 10,000 polls open at one process of the API, each on a connection of its own, and reports what
// they take there while nothing happens. A poll that ends after its 30 s is sent again.
func BenchmarkWaitingPolls(b *testing.B) {
	const n, tenants, period = 10_000, 100, time.Minute
	ctx, cancel := context.WithCancel(b.Context())
	r := newRig(ctx, b, "FANMAIL_MAX_CONNECTIONS_PER_ADDRESS=0")
	var consumers sync.WaitGroup
	b.Cleanup(consumers.Wait)
	b.Cleanup(cancel)
	api := r.running["api"]
	requests := make([][]byte, tenants)
	operator := r.operatorKey(ctx)
	for i := range requests {
		var made struct{ ID, Secret string }
		r.call(ctx, operator, http.MethodPost, "/v1/tenants", map[string]any{"name": "acme"}, &made)
		tenant := made.ID
		r.call(ctx, operator, http.MethodPatch, "/v1/tenants/"+tenant+"/quota", map[string]any{"event_streams": n / tenants}, nil)
		r.call(ctx, operator, http.MethodPost, "/v1/keys", map[string]any{"tenant_id": tenant}, &made)
		key := made.Secret
		r.call(ctx, key, http.MethodPost, "/v1/webhooks", map[string]any{"kind": "pull", "events": []string{"email.sent"}}, &made)
		requests[i] = fmt.Appendf(nil, "GET /v1/webhooks/%s/poll?wait=30 HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer %s\r\n\r\n", made.ID, key)
	}
	before, handles := resident(b, api.PID()), open(b, api.PID())
	for i := range n {
		consumers.Go(func() { pollForever(ctx, r.api, requests[i%tenants]) })
	}
	require.Eventually(b, func() bool { return gauge(b, api.Ready, "fanmail_api_waiting_polls") >= n-n/100 }, 10*time.Minute, time.Second)
	<-time.After(period / 2) // those that were sent while others were still opened have been sent again
	began, spent := time.Now(), cpu(b, api.PID())
	busy, looks := 0, 0
	for time.Since(began) < period {
		busy += r.count(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fanmail-api' AND state <> 'idle'`)
		looks++
		<-time.After(100 * time.Millisecond)
	}
	b.ReportMetric(float64(resident(b, api.PID())-before)/n, "KiB/poll")
	b.ReportMetric(float64(open(b, api.PID())-handles)/n, "handles/poll")
	b.ReportMetric(float64(busy)/float64(looks), "busy-connections")
	b.ReportMetric(float64(r.count(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fanmail-api'`)), "connections")
	b.ReportMetric((cpu(b, api.PID())-spent)/time.Since(began).Seconds(), "CPU-s/s")
	b.ReportMetric(float64(gauge(b, api.Ready, "fanmail_api_waiting_polls")), "waiting")
}

// pollForever polls over one connection until ctx ends.
func pollForever(ctx context.Context, addr string, request []byte) {
	for ctx.Err() == nil {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			continue
		}
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		in := bufio.NewReaderSize(conn, 512)
		for err == nil {
			if _, err = conn.Write(request); err != nil {
				break
			}
			var resp *http.Response
			if resp, err = http.ReadResponse(in, nil); err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
			}
		}
		stop()
		_ = conn.Close()
	}
}

// resident is the memory of a process in KiB.
func resident(b *testing.B, pid int) int {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(b, err)
	found := regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)
	require.NotNil(b, found)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(b, err)
	return n
}

// open is how many file handles a process has.
func open(b *testing.B, pid int) int {
	b.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	require.NoError(b, err)
	return len(list)
}

// cpu is how many seconds of a processor a process has used, in the kernel's ticks of 10 ms.
func cpu(b *testing.B, pid int) (seconds float64) {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(b, err)
	for _, f := range bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])[11:13] {
		n, err := strconv.Atoi(string(f))
		require.NoError(b, err)
		seconds += float64(n) / 100
	}
	return seconds
}

// gauge reads a metric of a process; ready is the URL of its readiness.
func gauge(b *testing.B, ready, name string) int {
	b.Helper()
	resp, err := http.Get(ready[:len(ready)-len("/readyz")] + "/metrics")
	require.NoError(b, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(b, err)
	found := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(text)
	require.NotNil(b, found)
	n, err := strconv.ParseFloat(string(found[1]), 64)
	require.NoError(b, err)
	return int(n)
}
