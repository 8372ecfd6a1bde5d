package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
)

// OwnerKey is the key of the mark that names a store's owner.
const OwnerKey = "owner"

// maxOwner bounds the mark, in bytes.
const maxOwner = 256

// Owned is a store that works for one database alone. Create one with [NewOwned].
type Owned struct {
	store Store
	owner func(context.Context) (string, error)

	mu    sync.Mutex
	known bool
}

// NewOwned returns the store as owner sees it. owner names the database. If the store
// has no mark yet, the first call makes it.
func NewOwned(s Store, owner func(context.Context) (string, error)) *Owned {
	return &Owned{store: s, owner: owner}
}

// Claim reads the mark and compares it with the owner. It makes the mark if there is
// none. The error's kind is [Foreign] if the mark names another owner.
func (o *Owned) Claim(ctx context.Context) error {
	owner, err := o.owner(ctx)
	if err != nil {
		return fmt.Errorf("tell to which database the blob store belongs: %w", err)
	}
	mark, err := readAll(ctx, o.store, OwnerKey, maxOwner)
	if KindOf(err) == Missing {
		if err = o.store.PutNew(ctx, OwnerKey, Bytes([]byte(owner))); err == nil {
			mark, err = readAll(ctx, o.store, OwnerKey, maxOwner)
		}
	}
	if err != nil {
		return err
	}
	if string(mark) != owner {
		return &Error{Op: "use", Kind: Foreign, Err: fmt.Errorf("its mark %q names %q, and this database is %q", OwnerKey, mark, owner)}
	}
	return nil
}

// ready claims the store if no call has yet.
func (o *Owned) ready(ctx context.Context) error {
	o.mu.Lock()
	known := o.known
	o.mu.Unlock()
	if known {
		return nil
	}
	if err := o.Claim(ctx); err != nil {
		return err
	}
	o.mu.Lock()
	o.known = true
	o.mu.Unlock()
	return nil
}

// Put is [Store.Put].
func (o *Owned) Put(ctx context.Context, key string, content *io.SectionReader) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	return o.store.Put(ctx, key, content)
}

// PutNew is [Store.PutNew].
func (o *Owned) PutNew(ctx context.Context, key string, content *io.SectionReader) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	return o.store.PutNew(ctx, key, content)
}

// Open is [Store.Open].
func (o *Owned) Open(ctx context.Context, key string, from int64) (io.ReadCloser, error) {
	if err := o.ready(ctx); err != nil {
		return nil, err
	}
	return o.store.Open(ctx, key, from)
}

// Delete is [Store.Delete].
func (o *Owned) Delete(ctx context.Context, key string) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	return o.store.Delete(ctx, key)
}

// List is [Store.List].
func (o *Owned) List(ctx context.Context, prefix string) iter.Seq2[string, error] {
	if err := o.ready(ctx); err != nil {
		return failed(err)
	}
	return o.store.List(ctx, prefix)
}

// Check is [Store.Check].
func (o *Owned) Check(ctx context.Context) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	return o.store.Check(ctx)
}

func failed(err error) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("", err) }
}

// readAll reads a blob of at most so many bytes.
func readAll(ctx context.Context, s Store, key string, most int64) ([]byte, error) {
	r, err := s.Open(ctx, key, 0)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, most))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, &Error{Op: "read", Key: key, Kind: Unreachable, Err: err}
	}
	return b, nil
}
