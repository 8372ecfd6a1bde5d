package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Build compiles commands of the module github.com/fanmail-dev/fanmail into dir, with the flags of deploy/build.sh, so
// that tests run what the image ships. Name a command by its directory, such as "cmd/publisher"; its program has the
// last part of that name. An error holds the compiler's output.
func Build(ctx context.Context, dir string, commands ...string) error {
	root, err := Root()
	if err != nil {
		return err
	}
	// Without debug information the linker takes half the time; stack traces need none.
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", dir + string(filepath.Separator)}
	for _, c := range commands {
		args = append(args, "./"+c)
	}
	cmd := exec.CommandContext(ctx, "go", args...) //nolint:gosec // our own commands
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", strings.Join(commands, ", "), err, out)
	}
	return nil
}

// Tool builds a tool that a go.mod file in dir, a folder below the module's root, names, unless Go's build cache has it,
// and returns its program. args are flags of "go tool" and the tool's name. An error holds the compiler's output. One is
// built at a time: tests of several packages need the same, and each would compile all of it.
func Tool(ctx context.Context, dir string, args ...string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	lock, err := os.Open(filepath.Join(root, "go.mod")) //nolint:gosec // our own file
	if err != nil {
		return "", fmt.Errorf("build a tool: %w", err)
	}
	defer func() { _ = lock.Close() }() // which unlocks it
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("wait for the tools that others build: %w", err)
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"tool", "-n"}, args...)...) //nolint:gosec // our own tools
	cmd.Dir = filepath.Join(root, dir)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// Root is the directory of the module github.com/fanmail-dev/fanmail. It works from anywhere inside that
// directory, also from the test modules.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod")) //nolint:gosec // our own file
		if err == nil && strings.HasPrefix(string(b), "module github.com/fanmail-dev/fanmail\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("find the module: not inside github.com/fanmail-dev/fanmail")
		}
		dir = filepath.Dir(dir)
	}
}
