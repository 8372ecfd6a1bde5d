package main

import (
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// session holds the input and output of a command.
type session struct {
	dir string
	in  io.Reader
	out io.Writer
	err io.Writer

	colours bool // whether out gets colours

	line sync.Mutex
}

// note prints a line on standard error, for people. Scripts read out.
func (s *session) note(text string) {
	s.line.Lock()
	defer s.line.Unlock()
	_, _ = fmt.Fprintln(s.err, text)
}

// say prints a line on out. It is safe for concurrent use.
func (s *session) say(format string, args ...any) {
	s.line.Lock()
	defer s.line.Unlock()
	_, _ = fmt.Fprintf(s.out, format+"\n", args...)
}

// fail prints an error on one line and returns the exit code.
func (s *session) fail(err error) int {
	_, _ = fmt.Fprintf(s.err, "fanmail: %s\n", secret.Mask(strings.Join(strings.Fields(err.Error()), " ")))
	return 1
}
