package ingest

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// spoolAfter is the most of a mail that is received into memory. A longer one goes to a temporary file.
const spoolAfter = 64 << 10

// spool collects the bytes of a mail. The zero value with a folder is empty; "" is the system's folder.
type spool struct {
	dir  string
	mem  []byte   // all of the mail, or what is not in the file yet
	file *os.File // nil for a small mail
	size int64
}

// room returns free memory for the next bytes; [spool.wrote] takes them.
func (s *spool) room() []byte {
	if len(s.mem) == cap(s.mem) {
		grown := make([]byte, len(s.mem), min(max(4<<10, 4*cap(s.mem)), spoolAfter))
		copy(grown, s.mem)
		s.mem = grown
	}
	return s.mem[len(s.mem):cap(s.mem)]
}

// wrote takes n bytes that were written to [spool.room].
func (s *spool) wrote(n int) error {
	s.mem = s.mem[:len(s.mem)+n]
	s.size += int64(n)
	if len(s.mem) < spoolAfter {
		return nil
	}
	if s.file == nil {
		if err := s.create(); err != nil {
			return err
		}
	}
	if _, err := s.file.Write(s.mem); err != nil {
		return fmt.Errorf("write a mail to a temporary file: %w", err)
	}
	s.mem = s.mem[:0]
	return nil
}

// create makes the file and removes its name before it has content, so that nothing is left of it when the
// process dies. Only the process's user can open it.
func (s *spool) create() error {
	f, err := os.CreateTemp(s.dir, "fanmail-mail-")
	if err != nil {
		return fmt.Errorf("create a temporary file for a mail: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		return fmt.Errorf("remove the name of a temporary file: %w", err)
	}
	s.file = f
	return nil
}

// bytes returns the whole mail; it is never nil. A mail in a file is read into memory.
func (s *spool) bytes() ([]byte, error) {
	if s.file == nil {
		if s.mem == nil {
			return []byte{}, nil
		}
		return s.mem, nil
	}
	raw := make([]byte, s.size)
	if _, err := io.ReadFull(s.reader(), raw); err != nil {
		return nil, fmt.Errorf("read a mail from its temporary file: %w", err)
	}
	return raw, nil
}

// reader reads the whole mail. A mail in a file is not read into memory.
func (s *spool) reader() io.Reader {
	mem := bytes.NewReader(s.mem)
	if s.file == nil {
		return mem
	}
	return io.MultiReader(io.NewSectionReader(s.file, 0, s.size-int64(len(s.mem))), mem)
}

// ReadAt is [io.ReaderAt] for what was received so far.
func (s *spool) ReadAt(p []byte, at int64) (n int, err error) {
	filed := s.size - int64(len(s.mem))
	if at < filed {
		n, err = s.file.ReadAt(p[:min(int64(len(p)), filed-at)], at)
		if err != nil {
			return n, fmt.Errorf("read a mail from its temporary file: %w", err)
		}
	}
	if from := at + int64(n); n < len(p) && from < s.size {
		n += copy(p[n:], s.mem[from-filed:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// close frees the memory and the file.
func (s *spool) close() {
	s.mem = nil
	if s.file != nil {
		_ = s.file.Close()
	}
}
