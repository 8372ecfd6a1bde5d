package blobs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// Store keeps blobs by key. It is safe for concurrent use.
type Store interface {
	// Put stores content, from its beginning. What is stored already under the key is replaced.
	Put(ctx context.Context, key string, content *io.SectionReader) error
	// PutNew is Put for a key that has no blob. It may leave an existing one as it is and
	// return nil: read the blob again to see whose it is.
	PutNew(ctx context.Context, key string, content *io.SectionReader) error
	// Open returns a reader of a blob from an offset, in bytes. The end of ctx ends the
	// reading.
	Open(ctx context.Context, key string, from int64) (io.ReadCloser, error)
	// Delete removes a blob. It is no error if there is none.
	Delete(ctx context.Context, key string) error
	// List yields the names directly below a prefix that ends in a slash, in any order:
	// keys of blobs, and prefixes that end in a slash. It ends after an error.
	List(ctx context.Context, prefix string) iter.Seq2[string, error]
	// Check reports whether the store can be reached. It writes nothing.
	Check(ctx context.Context) error
}

// Bytes is content in memory.
func Bytes(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

// Kind says what is wrong with a store, as far as it is known.
type Kind string

// The kinds of failures.
const (
	Unreachable Kind = "unreachable" // no answer, or one that asks to come back later
	Denied      Kind = "denied"      // the credentials are wrong, or lack a right
	NoBucket    Kind = "no bucket"   // the bucket or the folder does not exist
	Full        Kind = "full"        // no room is left
	Missing     Kind = "missing"     // there is no blob of that key
	Foreign     Kind = "foreign"     // the store belongs to another database
	Other       Kind = "other"
)

// Error is a failure of a store.
type Error struct {
	Op   string // what was being done, such as "write"
	Key  string // "" if it concerns the store as a whole
	Kind Kind
	Err  error
}

// Error is one line without credentials.
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s the blob store: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("%s blob %s: %v", e.Op, e.Key, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of a store's error; "" if err is not one.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return ""
}

// Probe writes a blob, reads it and deletes it. The key is that of the trial.
func Probe(ctx context.Context, s Store, key string) error {
	const text = "A trial of Fanmail. It can be deleted.\n"
	if err := s.Put(ctx, key, Bytes([]byte(text))); err != nil {
		return err
	}
	r, err := s.Open(ctx, key, 0)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(io.LimitReader(r, 2*int64(len(text))))
	if err = errors.Join(err, r.Close()); err == nil && string(got) != text {
		err = &Error{Op: "read", Key: key, Kind: Other, Err: errors.New("it is not what was written a moment ago")}
	}
	return errors.Join(err, s.Delete(ctx, key))
}
