//go:build !linux

package process

import "syscall"

// Other systems have no such signal; Kill and Stop still work.
func withParent() *syscall.SysProcAttr { return nil }
