package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"

	"github.com/fanmail-dev/fanmail/internal/secret"
)

// session holds the input and output of a command.
type session struct {
	dir string
	in  io.Reader
	out io.Writer
	err io.Writer

	colours bool // whether out gets colours
	width   int  // of a line of out; 0: that of the terminal

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
	_, _ = fmt.Fprintf(s.err, "fanmail: %s\n", printable(secret.Mask(strings.Join(strings.Fields(err.Error()), " "))))
	return 1
}

// confirm asks on standard error whether to do something, and reads the answer from a terminal. Without a yes, or
// without a terminal, it returns an error that names the flag --yes.
func (s *session) confirm(what string) error {
	in, ok := s.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return fmt.Errorf("%s: standard input is no terminal, so nobody can be asked; add --yes", what)
	}
	_, _ = fmt.Fprintf(s.err, "%s? [y/N] ", what)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && answer == "" {
		return fmt.Errorf("%s: no answer: %w", what, err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("%s: not confirmed; nothing was sent", what)
}
