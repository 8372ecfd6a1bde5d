// Terminal writes the recording of a terminal by script(1) as an animated SVG. It knows what line-oriented programs
// print: text, line ends, carriage returns, and SGR colours; other control sequences are dropped.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// maxPause is how long the picture stands still at most; longer pauses are cut.
	maxPause = 1200 * time.Millisecond
	// last is how long the end stays before the picture begins again.
	last = 8 * time.Second
)

func main() {
	timing := flag.String("timing", "", "file of script --log-timing")
	output := flag.String("output", "", "file of script --log-out")
	flag.Parse()
	if err := write(*timing, *output); err != nil {
		fmt.Fprintln(os.Stderr, "terminal:", err)
		os.Exit(1)
	}
}

func write(timingFile, outputFile string) error {
	timing, err := os.ReadFile(timingFile) //nolint:gosec // the caller's file
	if err != nil {
		return fmt.Errorf("read the timing: %w", err)
	}
	output, err := os.ReadFile(outputFile) //nolint:gosec // the caller's file
	if err != nil {
		return fmt.Errorf("read the output: %w", err)
	}
	_, output, _ = bytes.Cut(output, []byte("\n")) // script's own first line
	s, err := replay(timing, output)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(os.Stdout)
	s.draw(w)
	return w.Flush()
}

// replay reads lines of "O SECONDS BYTES", or "SECONDS BYTES" of the classic format.
func replay(timing, output []byte) (*screen, error) {
	s := &screen{}
	var at time.Duration
	for line := range strings.Lines(string(timing)) {
		fields := strings.Fields(line)
		if len(fields) == 3 {
			if fields[0] != "O" {
				continue
			}
			fields = fields[1:]
		}
		if len(fields) != 2 {
			continue
		}
		pause, err := strconv.ParseFloat(fields[0], 64)
		if err != nil {
			return nil, fmt.Errorf("read the timing: %w", err)
		}
		n, err := strconv.Atoi(fields[1])
		if err != nil || n > len(output) {
			return nil, fmt.Errorf("read the timing: %q does not fit the output", strings.TrimSpace(line))
		}
		at += min(time.Duration(pause*float64(time.Second)), maxPause)
		s.print(output[:n], at)
		output = output[n:]
	}
	return s, nil
}
