package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sample is the use of resources at one moment: name of a series → value.
type sample struct {
	At     time.Duration      `json:"at"` // since the load began
	Values map[string]float64 `json:"values"`
}

// The series of a sample, except those that end in a process's name.
const (
	seriesRate       = "deliveries/s"
	seriesPending    = "pending deliveries"
	seriesOutbox     = "events in the outbox"
	seriesTables     = "tables MB"
	seriesIndexes    = "indexes MB"
	seriesPartitions = "partitions"
	seriesBackends   = "database connections"
	seriesMemory     = "memory MB "
	seriesGoroutines = "goroutines "
	seriesFiles      = "open files "
)

const selectSizes = `
SELECT coalesce(sum(pg_table_size(c.oid)), 0)::float8 / 1e6, coalesce(sum(pg_indexes_size(c.oid)), 0)::float8 / 1e6, count(*)::float8,
       (SELECT count(*)::float8 FROM pg_stat_activity WHERE backend_type = 'client backend'),
       (SELECT count(*)::float8 FROM fanmail.outbox),
       (SELECT count(*)::float8 FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending')
FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid WHERE c.relname ~ '_[0-9]{14}$'`

// sample takes one sample. It leaves out a value that cannot be read at the moment.
func (s *soaking) sample(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	v := map[string]float64{}
	var tables, indexes, partitions, backends, outbox, pending float64
	err := s.r.pool.QueryRow(ctx, selectSizes).Scan(&tables, &indexes, &partitions, &backends, &outbox, &pending)
	if err == nil { // it fails if a partition is being dropped
		v[seriesTables], v[seriesIndexes], v[seriesPartitions] = tables, indexes, partitions
		v[seriesBackends], v[seriesOutbox], v[seriesPending] = backends, outbox, pending
	}
	for _, name := range append(append([]string{}, processes...), nodes...) {
		p := s.r.get(name)
		proc := filepath.Join("/proc", strconv.Itoa(p.PID()))
		if b, err := os.ReadFile(filepath.Join(proc, "statm")); err == nil { //nolint:gosec // a process of ours
			if f := strings.Fields(string(b)); len(f) > 1 {
				pages, _ := strconv.ParseFloat(f[1], 64)
				v[seriesMemory+name] = pages * float64(os.Getpagesize()) / 1e6
			}
		}
		if open, err := os.ReadDir(filepath.Join(proc, "fd")); err == nil {
			v[seriesFiles+name] = float64(len(open))
		}
		if n, err := goroutines(ctx, p.Ready); err == nil {
			v[seriesGoroutines+name] = n
		}
	}
	now := sample{At: time.Since(s.began), Values: v}
	came := float64(s.target.came.Load())
	since := 0.0
	if n := len(s.samples); n > 0 {
		since = s.samples[n-1].At.Seconds()
	}
	v[seriesRate] = (came - s.counted) / max(now.At.Seconds()-since, 0.001)
	s.counted = came
	s.samples = append(s.samples, now)
	_ = s.record.Encode(now) // for manual analysis only
	if len(s.samples)%30 == 0 {
		s.r.say("%.0f deliveries/s, %.0f pending, %.0f partitions, tables %.0f MB, indexes %.0f MB, dispatcher-1 %.0f MB",
			v[seriesRate], pending, partitions, tables, indexes, v[seriesMemory+"dispatcher-1"])
	}
}

// goroutines reads a process's metrics, which it serves beside its readiness.
func goroutines(ctx context.Context, ready string) (float64, error) {
	url, ok := strings.CutSuffix(ready, "/readyz")
	if !ok {
		return 0, fmt.Errorf("%s has no metrics", ready)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.ParseFloat(n, 64)
		}
	}
	return 0, fmt.Errorf("%s does not export the number of goroutines: %w", url, lines.Err())
}
