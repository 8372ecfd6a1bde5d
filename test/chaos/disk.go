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

// disk is a directory that can be full, slow or read-only. Its files are in a real directory beside it.
type disk struct {
	server *fuse.Server
	full   atomic.Bool
	delay  atomic.Int64 // nanoseconds for each write and each flush
	// readOnly lets nothing be written, created, renamed or removed.
	readOnly atomic.Bool
}

// newDisk mounts a disk at path. It needs FUSE, and root or fusermount3; the error says which is
// missing.
func newDisk(path string) (*disk, error) {
	backing := path + ".real"
	for _, dir := range []string{path, backing} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // Postgres's user must walk through it
			return nil, err
		}
	}
	real, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return nil, fmt.Errorf("mount a disk: %w", err)
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
		return nil, fmt.Errorf("mount the disk %s: %w", filepath.Base(path), err)
	}
	return d, nil
}

// remove unmounts the disk. No process may use it any more.
func (d *disk) remove() error { return d.server.Unmount() }

func (d *disk) wait(ctx context.Context) {
	if n := d.delay.Load(); n > 0 {
		last(ctx, time.Duration(n))
	}
}

// diskNode is a file or a directory of a disk.
type diskNode struct {
	fs.LoopbackNode
	disk *disk
}

// WrapChild makes every child a node of the same disk.
func (n *diskNode) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &diskNode{LoopbackNode: fs.LoopbackNode{RootData: n.RootData}, disk: n.disk}
}

func (n *diskNode) wrap(h fs.FileHandle) fs.FileHandle {
	if f, ok := h.(*fs.LoopbackFile); ok {
		return &diskFile{LoopbackFile: f, disk: n.disk}
	}
	return h
}

// Open opens a file without the kernel's page cache. A page read while the database was writing it
// once hid the end of a write from a standby.
func (n *diskNode) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&(syscall.O_WRONLY|syscall.O_RDWR|syscall.O_TRUNC) != 0 && n.disk.readOnly.Load() {
		return nil, 0, syscall.EROFS
	}
	h, fuseFlags, errno := n.LoopbackNode.Open(ctx, flags)
	return n.wrap(h), fuseFlags | fuse.FOPEN_DIRECT_IO, errno
}

// Create creates a file. A full disk still has room for the name.
func (n *diskNode) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if n.disk.readOnly.Load() {
		return nil, nil, 0, syscall.EROFS
	}
	inode, h, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, n.wrap(h), fuseFlags | fuse.FOPEN_DIRECT_IO, errno
}

// Setattr changes a file's size, mode or times.
func (n *diskNode) Setattr(ctx context.Context, f fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if n.disk.readOnly.Load() {
		return syscall.EROFS
	}
	return n.LoopbackNode.Setattr(ctx, f, in, out)
}

// Mkdir creates a directory.
func (n *diskNode) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.disk.readOnly.Load() {
		return nil, syscall.EROFS
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

// Unlink removes a file.
func (n *diskNode) Unlink(ctx context.Context, name string) syscall.Errno {
	if n.disk.readOnly.Load() {
		return syscall.EROFS
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

// Rename moves a file or a directory.
func (n *diskNode) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if n.disk.readOnly.Load() {
		return syscall.EROFS
	}
	return n.LoopbackNode.Rename(ctx, name, parent, newName, flags)
}

// diskFile is an open file.
type diskFile struct {
	*fs.LoopbackFile
	disk *disk
}

// PassthroughFd tells the kernel not to write past this file system.
func (f *diskFile) PassthroughFd() (int, bool) { return 0, false }

// Write fails on a full disk if it would extend the file.
func (f *diskFile) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	f.disk.wait(ctx)
	if f.disk.readOnly.Load() {
		return 0, syscall.EROFS
	}
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

// Allocate reserves space.
func (f *diskFile) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if f.disk.full.Load() {
		return syscall.ENOSPC
	}
	return f.LoopbackFile.Allocate(ctx, off, size, mode)
}

// Fsync waits for the real disk, and then for the delay.
func (f *diskFile) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	f.disk.wait(ctx)
	return f.LoopbackFile.Fsync(ctx, flags)
}

// disks holds a rig's disks by directory.
type disks map[string]*disk

func (all disks) remove() error {
	var errs []error
	for path, d := range all {
		if err := d.remove(); err != nil {
			errs = append(errs, fmt.Errorf("unmount the disk %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}
