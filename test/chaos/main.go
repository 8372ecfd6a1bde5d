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
	Duration time.Duration `help:"How long to make load and faults. Defaults to 2m, or 30m with --long."`
	Seed     uint64        `help:"Seed of the schedule of faults. 0 means 1, or a random one with --long."`
	Long     bool          `help:"The product with its own leases and retries, for half an hour or more."`
	Faults   []string      `help:"Only these faults, by name or by name@party." placeholder:"NAME,…"`
	Sabotage string        `help:"Break the product in this way, and succeed only where that is caught; all: in every way, one after the other." placeholder:"NAME"`
	Soak     bool          `help:"No faults: a steady load for --duration (1h) while partitions roll over; succeeds only where all that is used stays flat."`
	Plot     string        `help:"Where to write a soak's curves." placeholder:"FILE.svg"`
	Judge    string        `help:"Judge the history of a run before." placeholder:"FILE"`
	Dir      string        `help:"Where to keep the history, the logs and the data. Defaults to a new directory that is removed where all was well." placeholder:"DIR"`
}

func main() {
	var f flags
	kong.Parse(&f, kong.Name("chaos"), kong.Description("Breaks a whole Fanmail, and proves that its promises held."))
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
	if f.Judge != "" {
		records, err := history.Read(f.Judge)
		if err != nil {
			return false, err
		}
		v, err := promise.Check(records)
		if err != nil {
			return false, err
		}
		o := &outcome{Verdict: v}
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

// perform runs a plan in a directory that stays where something went wrong.
func (f *flags) perform(ctx context.Context, p plan) (*outcome, error) {
	dir, say, err := f.room()
	if err != nil {
		return nil, err
	}
	p.dir, p.say = dir, say
	o, err := perform(ctx, p)
	return o, f.leave(dir, err == nil && (o.good() || f.Sabotage != ""), err)
}

// room makes the directory of a run, and a way to tell how it goes.
func (f *flags) room() (string, func(string, ...any), error) {
	dir := f.Dir
	if dir == "" {
		// Not below a private directory: Postgres's user must walk through it.
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

// leave removes the directory of a run in which all was well, unless it was
// asked for.
func (f *flags) leave(dir string, well bool, err error) error {
	if f.Dir == "" && well {
		return errors.Join(err, os.RemoveAll(dir))
	}
	fmt.Println("what was recorded, the logs and the data are in", dir)
	return err
}
