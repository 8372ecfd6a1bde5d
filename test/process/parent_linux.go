package process

import "syscall"

// withParent makes the kernel kill the process when this program dies in any way.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
