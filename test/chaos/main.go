package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/fanmail-dev/fanmail/test/chaos/history"
	"github.com/fanmail-dev/fanmail/test/chaos/promise"
)

type flags struct {
	Duration time.Duration `help:"How long load and faults last. Defaults to 2m, or 30m with --long."`
	Seed     uint64        `help:"Seed of the schedule of faults. 0 means 1, or a random seed with --long."`
	Long     bool          `help:"Run the product with its default leases and retries, for half an hour or more."`
	Faults   []string      `help:"Inject only these faults, by name or by name@party." placeholder:"NAME,…"`
	Sabotage string        `help:"Break the product in this way, and succeed only if that is caught. all breaks it in every way, one after the other." placeholder:"NAME"`
	Soak     bool          `help:"Inject no faults, but keep a steady load for --duration (1h) while partitions rotate. Succeed only if the use of every resource stays flat."`
	Plot     string        `help:"Write the curves of a soak to this file." placeholder:"FILE.svg"`
	Check    string        `help:"Check the history of an earlier run." placeholder:"FILE"`
	Dir      string        `help:"Keep the history, the logs and the data in this directory. The default is a new directory, which is removed if the run succeeds." placeholder:"DIR"`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("chaos"), kong.Description("Injects faults into a whole Fanmail, and checks that its promises held."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	good, err := f.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	if !good || err != nil {
		os.Exit(1)
	}
}

func (f *flags) run(ctx context.Context) (bool, error) {
	if f.Check != "" {
		records, err := history.Read(f.Check)
		if err != nil {
			return false, err
		}
		v, err := promise.Check(records)
		if err != nil {
			return false, err
		}
		o := &outcome{Result: v}
		fmt.Print(o.report())
		return o.good(), nil
	}
	if f.Sabotage != "" {
		return f.sabotage(ctx)
	}
	if f.Soak {
		dir, say, err := f.room()
		if err != nil {
			return false, err
		}
		good, err := f.soak(ctx, dir, say)
		return good, f.leave(dir, good, err)
	}
	p := plan{seed: f.Seed, duration: f.Duration, asIs: f.Long, only: f.Faults}
	if p.duration == 0 {
		p.duration = 2 * time.Minute
		if f.Long {
			p.duration = 30 * time.Minute
		}
	}
	if p.seed == 0 {
		p.seed = 1
		if f.Long {
			p.seed = rand.Uint64()
		}
	}
	fmt.Printf("seed %d: run it again with --seed %d\n", p.seed, p.seed)
	o, err := f.perform(ctx, p)
	if err != nil {
		return false, err
	}
	fmt.Print(o.report())
	return o.good(), nil
}

// perform runs a plan in a directory, and keeps the directory if something went wrong.
func (f *flags) perform(ctx context.Context, p plan) (*outcome, error) {
	dir, say, err := f.room()
	if err != nil {
		return nil, err
	}
	p.dir, p.say = dir, say
	o, err := perform(ctx, p)
	return o, f.leave(dir, err == nil && (o.good() || f.Sabotage != ""), err)
}

// room creates the directory of a run, and returns a function that prints progress.
func (f *flags) room() (string, func(string, ...any), error) {
	dir := f.Dir
	if dir == "" {
		// Not below a private directory: Postgres's user must be able to enter it.
		var err error
		if dir, err = os.MkdirTemp("", "fanmail-chaos-"); err != nil {
			return "", nil, err
		}
	} else if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as above
		return "", nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // as above
		return "", nil, err
	}
	start := time.Now()
	return dir, func(format string, args ...any) {
		fmt.Printf("%6.1f s  %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}, nil
}

// leave removes the directory of a successful run, unless --dir named it.
func (f *flags) leave(dir string, well bool, err error) error {
	if f.Dir == "" && well {
		return errors.Join(err, os.RemoveAll(dir))
	}
	fmt.Println("the history, the logs and the data are in", dir)
	return err
}
