package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"golang.org/x/term"
)

// terminal returns the width of the terminal w; ok is false if w is no terminal.
func terminal(w io.Writer) (width int, ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	return width, err == nil && width > 0
}

// columns is the width of a line of the output: that of the terminal, or no limit, because nothing is cut for scripts.
func (s *session) columns() int {
	if s.width > 0 {
		return s.width
	}
	if width, ok := terminal(s.out); ok {
		return width
	}
	return math.MaxInt
}

// coloured says whether output to w gets colours: w is a terminal, and the user
// has not turned colours off (https://no-color.org).
func coloured(w io.Writer) bool {
	_, ok := terminal(w)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// tone is the ANSI code of a colour.
type tone int

// The colours of words that mean success, failure and neither.
const (
	bad     tone = 31 // red
	good    tone = 32 // green
	between tone = 33 // yellow
)

var tones = map[string]tone{
	"delivered": good, "ok": good, "verified": good,
	"failed": bad, "fail": bad,
	"pending": between, "warn": between,
}

// paint colours a word if the session uses colours. The zero tone means no colour.
func (s *session) paint(colour tone, text string) string {
	if !s.colours || colour == 0 {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, text)
}

// progress is a counter on one line of a terminal. Its methods may be called from many goroutines.
type progress struct {
	out  io.Writer // nil shows nothing
	what string

	mu    sync.Mutex
	done  int64
	total int64
	shown time.Time
}

// progress counts up to total on standard error, if that is a terminal.
func (s *session) progress(total int64, what string) *progress {
	p := &progress{total: total, what: what}
	if _, ok := terminal(s.err); ok {
		p.out = s.err
	}
	return p
}

// add counts n more steps.
func (p *progress) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.show(p.done+n, p.total)
}

// set replaces what is shown.
func (p *progress) set(what string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.what = what
	p.show(done, total)
}

func (p *progress) show(done, total int64) {
	p.done, p.total = done, total
	if p.out == nil || time.Since(p.shown) < 100*time.Millisecond {
		return
	}
	p.shown = time.Now()
	fmt.Fprintf(p.out, "\r\x1b[K%s %d/%d", p.what, done, total)
}

// finish clears the line.
func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out != nil && !p.shown.IsZero() {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
