package history

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// File is a history that is being written. Its methods may be called from many goroutines.
type File struct {
	mu  sync.Mutex
	f   *os.File
	w   *bufio.Writer
	enc *json.Encoder
	err error
}

// Create begins a history. The file must not exist.
func Create(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the caller's choice
	if err != nil {
		return nil, fmt.Errorf("create the history: %w", err)
	}
	w := bufio.NewWriter(f)
	return &File{f: f, w: w, enc: json.NewEncoder(w)}, nil
}

// Append writes a record. [File.Close] returns its error.
func (h *File) Append(r Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = errors.Join(h.err, h.enc.Encode(r))
}

// Close ends the history and returns the first errors of writing it.
func (h *File) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return errors.Join(h.err, h.w.Flush(), h.f.Close())
}

// Read reads a whole history.
func Read(path string) ([]Record, error) {
	f, err := os.Open(path) //nolint:gosec // the caller's choice
	if err != nil {
		return nil, fmt.Errorf("read the history: %w", err)
	}
	defer func() { _ = f.Close() }()
	dec := json.NewDecoder(bufio.NewReader(f))
	dec.DisallowUnknownFields()
	var out []Record
	for {
		var r Record
		err := dec.Decode(&r)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the history: record %d: %w", len(out)+1, err)
		}
		out = append(out, r)
	}
}
