package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ticks is USER_HZ, the unit of CPU time in /proc. It is 100 on every architecture that Go supports.
const ticks = 100

// stat is what /proc/<pid>/stat holds.
type stat struct {
	parent string
	own    float64 // seconds, in user and kernel mode
	waited float64 // of its children that have exited and were waited for
}

func parseStat(line string) (stat, error) {
	// The command is in parentheses and may hold any character.
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

// cpuOf returns the CPU seconds of a process and of its children that have exited.
func cpuOf(pid string) (float64, error) {
	s, err := statOf(pid)
	return s.own + s.waited, err
}

// cpuOfFamily is [cpuOf] with the running children. A child that exits meanwhile is counted once, with
// its parent.
func cpuOfFamily(pid string) (float64, error) {
	family, err := children(pid)
	if err != nil {
		return 0, err
	}
	var total float64
	for _, child := range family {
		// A child that has exited meanwhile is counted with its parent.
		if s, err := statOf(child); err == nil {
			total += s.own + s.waited
		}
	}
	self, err := cpuOf(pid)
	return total + self, err
}

// children returns the running children of a process.
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
