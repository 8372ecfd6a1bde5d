package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks is USER_HZ, in which Linux counts CPU time for everybody to read. It is
// 100 on every architecture that Go runs on.
const ticks = 100

// stat is what /proc/<pid>/stat says of a process.
type stat struct {
	parent string
	own    float64 // seconds, in user and kernel mode
	waited float64 // of its children that have ended and were waited for
}

func parseStat(line string) (stat, error) {
	// The command stands in parentheses and may hold any character.
	end := strings.LastIndexByte(line, ')')
	if end < 0 {
		return stat{}, fmt.Errorf("not a line of /proc/<pid>/stat: %q", line)
	}
	fields := strings.Fields(line[end+1:]) // from the third on: state, parent, …
	if len(fields) < 15 {
		return stat{}, fmt.Errorf("not a line of /proc/<pid>/stat: %q", line)
	}
	var t [4]float64 // utime, stime, cutime, cstime
	for i := range t {
		n, err := strconv.ParseUint(fields[11+i], 10, 64)
		if err != nil {
			return stat{}, fmt.Errorf("not a line of /proc/<pid>/stat: %w", err)
		}
		t[i] = float64(n) / ticks
	}
	return stat{parent: fields[1], own: t[0] + t[1], waited: t[2] + t[3]}, nil
}

func statOf(pid string) (stat, error) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "stat")) //nolint:gosec // a process id
	if err != nil {
		return stat{}, fmt.Errorf("CPU of process %s: %w", pid, err)
	}
	return parseStat(string(b))
}

// cpuOf is the CPU seconds of a process and of its children that have ended.
func cpuOf(pid string) (float64, error) {
	s, err := statOf(pid)
	return s.own + s.waited, err
}

// cpuOfFamily is [cpuOf] with the children that still run. A child that ends
// in between is counted with its parent, once.
func cpuOfFamily(pid string) (float64, error) {
	family, err := children(pid)
	if err != nil {
		return 0, err
	}
	var total float64
	for _, child := range family {
		// One that has gone since is its parent's.
		if s, err := statOf(child); err == nil {
			total += s.own + s.waited
		}
	}
	self, err := cpuOf(pid)
	return total + self, err
}

// children of a process, those that run now.
func children(pid string) ([]string, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("children of process %s: %w", pid, err)
	}
	var out []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		if s, err := statOf(e.Name()); err == nil && s.parent == pid {
			out = append(out, e.Name())
		}
	}
	return out, nil
}
