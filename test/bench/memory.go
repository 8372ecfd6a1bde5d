package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fanmail-dev/fanmail/test/process"
)

// resident is what /proc/<pid>/status says about a process's memory, in bytes.
type resident struct {
	peak   float64 // the peak
	own    float64 // anonymous, now
	shared float64 // shared, now
}

func parseStatus(status string) (resident, error) {
	var r resident
	into := map[string]*float64{"VmHWM:": &r.peak, "RssAnon:": &r.own, "RssShmem:": &r.shared}
	lines := bufio.NewScanner(strings.NewReader(status))
	found := 0
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 3 || into[f[0]] == nil {
			continue
		}
		kb, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return resident{}, fmt.Errorf("not a /proc/<pid>/status: %w", err)
		}
		*into[f[0]] = float64(kb << 10)
		found++
	}
	if found != len(into) {
		return resident{}, fmt.Errorf("not a /proc/<pid>/status: %d of %d figures", found, len(into))
	}
	return r, lines.Err()
}

func residentOf(pid string) (resident, error) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "status")) //nolint:gosec // a process id
	if err != nil {
		return resident{}, fmt.Errorf("memory of process %s: %w", pid, err)
	}
	return parseStatus(string(b))
}

// residentOfFamily sums up a process and its children. Their shared memory counts once.
func residentOfFamily(pid string) (float64, error) {
	family, err := children(pid)
	if err != nil {
		return 0, err
	}
	var own, shared float64
	for _, member := range append(family, pid) {
		// A child that has exited meanwhile counts nothing.
		if r, err := residentOf(member); err == nil {
			own += r.own
			shared = max(shared, r.shared)
		}
	}
	return own + shared, nil
}

// memoryOf returns the memory of a system's Postgres and processes, by name.
func memoryOf(pg *postgres, processes []*process.Process) (map[string]float64, error) {
	out := map[string]float64{}
	var err error
	if out["postgres"], err = residentOfFamily(pg.pid); err != nil {
		return nil, err
	}
	for _, p := range processes {
		r, err := residentOf(strconv.Itoa(p.PID()))
		if err != nil {
			return nil, err
		}
		out[p.Name] = r.peak
	}
	return out, nil
}

// memoryWatch keeps the peak of each part of a system.
type memoryWatch struct {
	system System
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	peak   map[string]float64
}

// watchMemory reads every half second until it is stopped.
func watchMemory(ctx context.Context, s System) *memoryWatch {
	ctx, cancel := context.WithCancel(ctx)
	m := &memoryWatch{system: s, cancel: cancel, done: make(chan struct{}), peak: map[string]float64{}}
	go func() {
		defer close(m.done)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				// An error here is also an error of the caller's read.
				_, _ = m.read()
			case <-ctx.Done():
				return
			}
		}
	}()
	return m
}

func (m *memoryWatch) stop() {
	m.cancel()
	<-m.done
}

// read reads once more and returns the peaks.
func (m *memoryWatch) read() (map[string]float64, error) {
	now, err := m.system.Memory()
	m.mu.Lock()
	defer m.mu.Unlock()
	for part, bytes := range now {
		m.peak[part] = max(m.peak[part], bytes)
	}
	return m.peak, err
}
