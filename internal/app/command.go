package app

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/internal/secret"
	"github.com/fanmail-dev/fanmail/internal/setting"
)

// Signals returns a context that ends at SIGINT or SIGTERM. A second signal kills
// the process.
func Signals(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Config is the configuration of a process, for [Main].
type Config interface {
	Validate() error
	Logger() (*zap.Logger, error)
	Follow(ctx context.Context, log *zap.Logger) (stop func())
}

// Parse reads a process's configuration from arguments and environment, and
// validates it. An error has one line. --help and --version end the program.
func Parse[C Config](args []string, name, description, httpAddr string) (C, error) {
	var c struct {
		Config  C                `embed:""`
		Version kong.VersionFlag `hidden:""`
	}
	k, err := kong.New(&c, kong.Name(name), kong.Description(description),
		kong.Vars{"http_addr": httpAddr, "version": Build()}, SecretFiles())
	if err != nil {
		return c.Config, fmt.Errorf("define the flags: %w", err)
	}
	if _, err := k.Parse(args); err != nil {
		return c.Config, err
	}
	return c.Config, c.Config.Validate()
}

// Main is the main function of a process. It parses the configuration, runs until
// SIGINT or SIGTERM and returns the exit code. It prints an error on one line of
// standard error. The name is one of [Processes].
func Main[C Config](name string, run func(context.Context, C, *zap.Logger) error) int {
	NameVariables()
	if err := ArmFaults(); err != nil {
		return fail(name, err)
	}
	p := described(name)
	c, err := Parse[C](os.Args[1:], name, p.Description, p.HTTPAddr)
	if err != nil {
		return fail(name, err)
	}
	log, err := c.Logger()
	if err != nil {
		return fail(name, err)
	}
	defer func() { _ = log.Sync() }()
	defer RedirectStandardLog(log)()
	ctx, stop := Signals(context.Background())
	defer stop()
	defer c.Follow(ctx, log)()
	log.Info("starting", zap.String("process", name), zap.String("version", Version()), zap.String("commit", Commit()))
	if err := run(ctx, c, log); err != nil {
		return fail(name, err)
	}
	log.Info("stopped", zap.String("process", name))
	return 0
}

// NameVariables makes errors name variables and flags, as an operator knows them.
func NameVariables() { setting.FromEnvironment() }

// ArmFaults arms package faults from the environment. Only a command's main function calls it.
func ArmFaults() error {
	if err := faults.Arm(os.Getenv(faults.Variable)); err != nil {
		return fmt.Errorf("%s: %w", faults.Variable, err)
	}
	return nil
}

func fail(name string, err error) int {
	fmt.Fprintf(os.Stderr, "%s: %s\n", name, secret.Mask(oneLine(err)))
	return 1
}
