package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is a directory that can be full, and that can be slow. What is in it
// lies on the real disk, in a directory beside it.
type disk struct {
	server *fuse.Server
	full   atomic.Bool
	delay  atomic.Int64 // nanoseconds for each write and each flush
}

// newDisk puts a disk at path. The error says why this machine has none: it
// takes FUSE, and root or fusermount3.
func newDisk(path string) (*disk, error) {
	backing := path + ".real"
	for _, dir := range []string{path, backing} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // Postgres's user must walk through it
			return nil, err
		}
	}
	real, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return nil, fmt.Errorf("make a disk: %w", err)
	}
	d := &disk{}
	root := &diskNode{LoopbackNode: fs.LoopbackNode{RootData: real.(*fs.LoopbackNode).RootData}, disk: d}
	root.RootData.RootNode = root
	keep, super := time.Second, os.Geteuid() == 0
	d.server, err = fs.Mount(path, root, &fs.Options{
		AttrTimeout: &keep, EntryTimeout: &keep,
		MountOptions: fuse.MountOptions{AllowOther: super, DirectMount: super, FsName: "chaos", DisableXAttrs: true, DisableSplice: true, MaxWrite: 1 << 20},
	})
	if err != nil {
		return nil, fmt.Errorf("make a disk of %s: %w", filepath.Base(path), err)
	}
	return d, nil
}

// remove takes the disk away. Nobody may use it any more.
func (d *disk) remove() error { return d.server.Unmount() }

func (d *disk) wait(ctx context.Context) {
	if n := d.delay.Load(); n > 0 {
		last(ctx, time.Duration(n))
	}
}

// diskNode is a file or directory of a disk.
type diskNode struct {
	fs.LoopbackNode
	disk *disk
}

// WrapChild makes nodes of the disk of those below it.
func (n *diskNode) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &diskNode{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, disk: n.disk}
}

func (n *diskNode) wrap(h fs.FileHandle) fs.FileHandle {
	if f, ok := h.(*fs.LoopbackFile); ok {
		return &diskFile{LoopbackFile: f, disk: n.disk}
	}
	return h
}

// Open opens a file. The kernel keeps none of it: a page of its own, read while
// the database wrote to it, has hidden the end of a write from a standby.
func (n *diskNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	return n.wrap(h), fuseFlags | fuse.FOPEN_DIRECT_IO, errno
}

// Create makes a file. A full disk has room for its name.
func (n *diskNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	inode, h, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, n.wrap(h), fuseFlags | fuse.FOPEN_DIRECT_IO, errno
}

// diskFile is an open file.
type diskFile struct {
	*fs.LoopbackFile
	disk *disk
}

// PassthroughFd says that the kernel may not write past us.
func (f *diskFile) PassthroughFd() (int, bool) { return 0, false }

// Write takes what fits: on a full disk what the file has already.
func (f *diskFile) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	f.disk.wait(ctx)
	if f.disk.full.Load() {
		var a fuse.AttrOut
		if errno := f.Getattr(ctx, &a); errno != 0 {
			return 0, errno
		}
		if off < 0 || uint64(off)+uint64(len(data)) > a.Size {
			return 0, syscall.ENOSPC
		}
	}
	return f.LoopbackFile.Write(ctx, data, off)
}

// Allocate reserves room.
func (f *diskFile) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if f.disk.full.Load() {
		return syscall.ENOSPC
	}
	return f.LoopbackFile.Allocate(ctx, off, size, mode)
}

// Fsync waits for the disk, and longer.
func (f *diskFile) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	f.disk.wait(ctx)
	return f.LoopbackFile.Fsync(ctx, flags)
}

// disks are those of a rig, by their directories.
type disks map[string]*disk

func (all disks) remove() error {
	var errs []error
	for path, d := range all {
		if err := d.remove(); err != nil {
			errs = append(errs, fmt.Errorf("remove the disk %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}
