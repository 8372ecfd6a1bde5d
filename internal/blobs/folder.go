package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Folder is a store in a folder of the file system, which all processes must share.
// Create one with [NewFolder]. Only the processes' user can read the files.
type Folder struct{ dir string }

// NewFolder returns a store in a folder, which must exist: where a volume is not
// mounted, the folder is missing, and nothing may be stored beside it.
func NewFolder(dir string) *Folder { return &Folder{dir: filepath.Clean(dir)} }

// partSuffix ends the name of a file that is being written.
const partSuffix = ".part"

// listed is how many names are read from a folder at a time.
const listed = 1000

// path returns the file of a key.
func (f *Folder) path(key string) (string, error) {
	local := filepath.FromSlash(strings.TrimSuffix(key, "/"))
	if !filepath.IsLocal(local) {
		return "", fmt.Errorf("%q is not a key", key)
	}
	return filepath.Join(f.dir, local), nil
}

// Put writes a temporary file, syncs it and gives it its name.
func (f *Folder) Put(_ context.Context, key string, content *io.SectionReader) error {
	path, err := f.path(key)
	if err == nil {
		err = f.write(path, content)
	}
	return f.fault("write", key, err)
}

// PutNew is [Store.PutNew].
func (f *Folder) PutNew(ctx context.Context, key string, content *io.SectionReader) error {
	path, err := f.path(key)
	if err == nil {
		if _, err = os.Lstat(path); err == nil {
			return nil
		}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return f.fault("write", key, err)
	}
	return f.Put(ctx, key, content)
}

func (f *Folder) write(path string, content *io.SectionReader) error {
	part, err := f.create(path + partSuffix)
	if err != nil {
		return err
	}
	_, err = io.Copy(part, io.NewSectionReader(content, 0, content.Size()))
	if err == nil {
		err = part.Sync()
	}
	if err = errors.Join(err, part.Close()); err == nil {
		err = os.Rename(path+partSuffix, path)
	}
	if err != nil {
		_ = os.Remove(path + partSuffix)
		return err
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if err := syncDir(dir); err != nil {
			return err
		}
		if dir == f.dir {
			return nil
		}
	}
}

// create makes the file and the folders above it. [Folder.Delete] may remove an empty
// one in between.
func (f *Folder) create(path string) (file *os.File, err error) {
	if _, err := os.Stat(f.dir); err != nil {
		return nil, err
	}
	for range 3 {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600) //nolint:gosec // a key of ours
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return file, err
}

// syncDir makes the names in a folder durable.
func syncDir(path string) error {
	d, err := os.Open(path) //nolint:gosec // a folder of ours
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Open is [Store.Open].
func (f *Folder) Open(_ context.Context, key string, from int64) (io.ReadCloser, error) {
	path, err := f.path(key)
	if err != nil {
		return nil, f.fault("read", key, err)
	}
	file, err := os.Open(path) //nolint:gosec // a key of ours
	if err != nil {
		return nil, f.fault("read", key, err)
	}
	if _, err := file.Seek(from, io.SeekStart); err != nil {
		return nil, f.fault("read", key, errors.Join(err, file.Close()))
	}
	return file, nil
}

// Delete removes the file, and its folder if nothing else is in it.
func (f *Folder) Delete(_ context.Context, key string) error {
	path, err := f.path(key)
	if err != nil {
		return f.fault("delete", key, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return f.fault("delete", key, err)
	}
	if dir := filepath.Dir(path); dir != f.dir {
		_ = os.Remove(dir) // fails unless it is empty
	}
	return nil
}

// List is [Store.List].
func (f *Folder) List(_ context.Context, prefix string) iter.Seq2[string, error] {
	path, err := f.path(prefix)
	if err != nil {
		return failed(f.fault("list", prefix, err))
	}
	return func(yield func(string, error) bool) {
		d, err := os.Open(path) //nolint:gosec // a folder of ours
		if errors.Is(err, fs.ErrNotExist) && f.exists() {
			return
		}
		if err != nil {
			yield("", f.fault("list", prefix, err))
			return
		}
		defer func() { _ = d.Close() }()
		for {
			entries, err := d.ReadDir(listed)
			for _, e := range entries {
				name := prefix + e.Name()
				if e.IsDir() {
					name += "/"
				}
				if !yield(name, nil) {
					return
				}
			}
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield("", f.fault("list", prefix, err))
				return
			}
		}
	}
}

func (f *Folder) exists() bool {
	info, err := os.Stat(f.dir)
	return err == nil && info.IsDir()
}

// Check is [Store.Check].
func (f *Folder) Check(context.Context) error {
	info, err := os.Stat(f.dir)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "stat", Path: f.dir, Err: syscall.ENOTDIR}
	}
	return f.fault("reach", "", err)
}

// fault returns the error of an operation; nil for nil.
func (f *Folder) fault(op, key string, err error) error {
	if err == nil {
		return nil
	}
	kind := Other
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = Full
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		kind = Denied
	case !f.exists():
		kind = NoBucket
	case errors.Is(err, fs.ErrNotExist):
		kind = Missing
	}
	return &Error{Op: op, Key: key, Kind: kind, Err: err}
}
