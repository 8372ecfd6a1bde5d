package ingest

import (
	"bufio"
	"bytes"
	"io"
)

// maxHeld is how many bytes of replies wait at most for those to the commands behind.
const maxHeld = 4 << 10

// replies writes to the client. The lines of a reply, and the replies to commands that the client has pipelined, are
// sent together (RFC 2920, 3.2): each write is a system call, and wakes the client. What is held is sent before the
// server waits for the client. Go-smtp's goroutine alone uses it.
type replies struct {
	to   io.Writer
	late func() // sets a deadline for what was held
	held []byte
}

// hold keeps a piece of a reply until the next one.
func (r *replies) hold(p []byte) (int, error) {
	r.held = append(r.held, p...)
	if len(r.held) < maxHeld {
		return len(p), nil
	}
	return len(p), r.flush()
}

// send sends a piece of a reply, and what is held.
func (r *replies) send(p []byte) (int, error) {
	if len(r.held) == 0 {
		return r.to.Write(p)
	}
	r.held = append(r.held, p...)
	return len(p), r.flush()
}

// flush sends what is held.
func (r *replies) flush() error {
	if len(r.held) == 0 {
		return nil
	}
	r.late()
	_, err := r.to.Write(r.held)
	r.held = r.held[:0]
	return err
}

// flushing reads from the client. Before it waits, it sends the replies that are held.
type flushing struct {
	r   io.Reader
	out *replies
}

func (f flushing) Read(p []byte) (int, error) {
	if err := f.out.flush(); err != nil {
		return 0, err
	}
	return f.r.Read(p)
}

// pipelined reports whether another command has been received already.
func pipelined(r *bufio.Reader) bool {
	n := r.Buffered()
	if n == 0 {
		return false
	}
	next, _ := r.Peek(n)
	return bytes.IndexByte(next, '\n') >= 0
}
