package devserver

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
)

// script runs Postgres and shuts it down when the pipe at descriptor 3 ends, which is when the process that holds its
// other end exits. All its processes block; none of them polls. "$1" is a directory to remove at the end, or empty.
const script = `
rm="$1"; shift
trap '' INT TERM HUP
( trap - INT; exec "$@" ) </dev/null 3<&- & pid=$!
{ read -r _ <&3; kill -INT $pid; } 2>/dev/null & watcher=$!
wait $pid; code=$?
kill -KILL $watcher 2>/dev/null
[ -z "$rm" ] || rm -rf "$rm"
exit $code
`

// supervisor is the shell that runs [script].
type supervisor struct {
	hold   io.Closer // closing it shuts the server down
	exited chan struct{}
}

// supervise runs a server as user, with env added to its environment, and writes its output to logs. It removes the
// directory remove at the end, unless that is empty.
func supervise(server []string, user *syscall.Credential, env []string, logs *os.File, remove string) (*supervisor, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("supervise Postgres: %w", err)
	}
	defer func() { _ = r.Close() }()
	args := append([]string{"-c", script, "fanmail-postgres", remove}, server...)
	cmd := exec.Command("/bin/sh", args...) //nolint:gosec,noctx // outlives the call; ends with the pipe
	cmd.Dir = "/"
	cmd.Env = append(cmd.Environ(), env...)
	cmd.Stdout, cmd.Stderr = logs, logs
	cmd.ExtraFiles = []*os.File{r}
	// A process group of its own: Ctrl-C at the terminal must not reach Postgres. Fanmail stops it after its own shutdown.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user, Setpgid: true}
	if err := cmd.Start(); err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("start Postgres: %w", err)
	}
	s := &supervisor{hold: w, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(s.exited)
	}()
	return s, nil
}

// stop shuts the server down and waits until it has exited.
func (s *supervisor) stop() {
	_ = s.hold.Close()
	<-s.exited
}
