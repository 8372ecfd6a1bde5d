package process

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/fanmail-dev/fanmail/internal/devserver/freeport"
)

// Spec is what to run.
type Spec struct {
	// Name of the process. Its output goes to Logs/Name.log.
	Name string
	// Bin is the program.
	Bin string
	// Args of the program, and Env in addition to this program's environment.
	Args, Env []string
	// Logs is the directory of the output.
	Logs string
	// Ready is what [Start] waits for: a URL must answer 200, a host:port must accept a connection. ""
	// waits for nothing.
	Ready string
}

// Process is a running process.
type Process struct {
	Spec
	cmd    *exec.Cmd
	exited chan struct{}
}

// Start starts a process and waits until it is ready. If the process exits or ctx ends before, the
// error holds the end of the output.
func Start(ctx context.Context, s Spec) (*Process, error) {
	out, err := os.OpenFile(s.log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.Command(s.Bin, s.Args...) //nolint:gosec,noctx // what the caller built; it outlives the call
	cmd.Env = append(os.Environ(), s.Env...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = withParent()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", s.Name, err)
	}
	p := &Process{Spec: s, cmd: cmd, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(p.exited)
	}()
	if err := p.await(ctx); err != nil {
		p.Kill()
		return nil, fmt.Errorf("start %s: %w; its output ends:\n%s", s.Name, err, p.Tail(20))
	}
	return p, nil
}

// Again starts the same program after [Process.Kill] or [Process.Stop].
func (p *Process) Again(ctx context.Context) (*Process, error) { return Start(ctx, p.Spec) }

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has exited.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode of a process that has exited; -1 if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.exited
	return p.cmd.ProcessState.ExitCode()
}

// Kill sends SIGKILL and waits until the process has exited.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.exited
}

// Stop sends SIGTERM and waits until the process has exited. If ctx ends before, it kills the process.
// The error says that it had to be killed, or gives an exit code other than 0.
func (p *Process) Stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stop %s: %w", p.Name, context.Cause(ctx))
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("stop %s: it ended with exit code %d", p.Name, code)
	}
	return nil
}

func (s Spec) log() string { return filepath.Join(s.Logs, s.Name+".log") }

// Tail returns the last lines of the output of this process and of earlier ones with its name.
func (s Spec) Tail(lines int) string {
	b, err := os.ReadFile(s.log())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func (p *Process) await(ctx context.Context) error {
	if p.Ready == "" {
		return nil
	}
	ask := func() error {
		select {
		case <-p.exited:
			return backoff.Permanent(errors.New("it ended at once"))
		default:
		}
		return answers(ctx, p.Ready)
	}
	return backoff.Retry(ask, backoff.WithContext(backoff.NewConstantBackOff(25*time.Millisecond), ctx))
}

func answers(ctx context.Context, ready string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if !strings.Contains(ready, "://") {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", ready)
		if err != nil {
			return err
		}
		return c.Close()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ready, nil)
	if err != nil {
		return backoff.Permanent(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", ready, resp.Status)
	}
	return nil
}

// FreeAddr is 127.0.0.1 with a port of [freeport.Find].
func FreeAddr() (string, error) {
	port, err := freeport.Find()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("127.0.0.1:%d", port), nil
}
