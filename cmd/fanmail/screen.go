package main

import (
	"io"
	"os"
	"time"

	"github.com/fatih/color"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// terminal gives the width of the terminal that w is, and whether it is one.
func terminal(w io.Writer) (width int, ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	width, _, err := term.GetSize(int(f.Fd()))
	return width, err == nil && width > 0
}

// coloured says whether to colour what goes to w: a terminal, whose user has
// not asked for none (https://no-color.org).
func coloured(w io.Writer) bool {
	_, ok := terminal(w)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// The colours of words that stand for good, bad and between.
var (
	good    = color.FgGreen
	bad     = color.FgRed
	between = color.FgYellow
	tones   = map[string]color.Attribute{
		"delivered": good, "ok": good, "verified": good,
		"failed": bad, "fail": bad,
		"pending": between, "warn": between,
	}
)

// paint colours a word where colours are on.
func (s *session) paint(tone color.Attribute, text string) string {
	if !s.colours {
		return text
	}
	c := color.New(tone)
	c.EnableColor()
	return c.Sprint(text)
}

// progress is a bar on standard error for total steps, or a spinner where
// total is -1; nothing is shown where that is no terminal.
func (s *session) progress(total int64, what string) *progressbar.ProgressBar {
	out := io.Discard
	if _, ok := terminal(s.err); ok {
		out = s.err
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(24), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionSpinnerType(14), progressbar.OptionSetRenderBlankState(true))
}
