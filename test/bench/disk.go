package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// writtenBy returns how many bytes a process has written to disk, in whole pages.
func writtenBy(pid string) (float64, error) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "io")) //nolint:gosec // a process id
	if err != nil {
		return 0, fmt.Errorf("bytes written by process %s: %w", pid, err)
	}
	return parseIO(string(b))
}

func parseIO(text string) (float64, error) {
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "write_bytes: "); ok {
			bytes, err := strconv.ParseUint(n, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("not a /proc/<pid>/io: %w", err)
			}
			return float64(bytes), nil
		}
	}
	return 0, fmt.Errorf("not a /proc/<pid>/io: no write_bytes in %q", text)
}
