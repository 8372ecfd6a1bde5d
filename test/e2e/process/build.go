package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build compiles commands of this module into dir, as deploy/build.sh does for the
// image: what is tested is what is shipped. A command is named by its directory in
// the module, such as "cmd/publisher", and its program is the last part of it.
func Build(ctx context.Context, dir string, commands ...string) error {
	root, err := root()
	if err != nil {
		return err
	}
	args := []string{"build", "-trimpath", "-o", dir + string(filepath.Separator)}
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

// root is the directory of this module, from anywhere inside it, the modules
// inside it too.
func root() (string, error) {
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
