package process

import "syscall"

// withParent has the kernel kill the process when this program dies, however
// it dies.
func withParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
