package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// smtpCommand compares the acceptance of mail with Postfix's.
const smtpCommand = "smtp"

// smtpAgent is the recipient of all mails.
const smtpAgent = "agent@bench.example"

// smtpServer is a server that takes mail. Its parts are named in what it reports.
type smtpServer interface {
	Name() string
	// Start runs the server with its storage in dir, and returns its address.
	Start(ctx context.Context, dir string, large bool) (addr string, err error)
	// Settle waits until the server has nothing left to do for the mails that it accepted, and checks their number.
	Settle(ctx context.Context, mails int) error
	// CPU returns seconds by part.
	CPU() (map[string]float64, error)
	// Memory returns the peak of each part in bytes, or what it has now.
	Memory() (map[string]float64, error)
	Stop(ctx context.Context) error
}

// smtpLoad is what smtp-source sends.
type smtpLoad struct {
	name               string
	sessions, n, bytes int
	large              bool
}

// smtpRun is the result of a load on a server.
type smtpRun struct {
	perSecond float64
	cpu       map[string]float64 // seconds for 1,000 mails, by part
	memory    map[string]float64 // bytes, by part
}

func (r *smtpRun) total() (sum float64) {
	for _, v := range r.cpu {
		sum += v
	}
	return sum
}

type smtpBench struct {
	rounds int
	loads  []smtpLoad
	out    io.Writer
	smtp   func() []smtpServer
}

func benchSMTP(ctx context.Context, args []string) error {
	b, profile, err := parseSMTP(args)
	if err != nil {
		return err
	}
	bin, err := os.MkdirTemp("", "fanmail-bench-smtp-")
	if err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(bin) }()
	if err := buildSMTP(ctx, bin); err != nil {
		return err
	}
	b.smtp = func() []smtpServer { return []smtpServer{&postfix{}, &smtpFanmail{bin: bin, profile: profile}} }
	return b.run(ctx)
}

// parseSMTP reads the arguments behind smtpCommand. The bench has no servers yet.
func parseSMTP(args []string) (b *smtpBench, profile string, err error) {
	flags := flag.NewFlagSet(smtpCommand, flag.ContinueOnError)
	rounds := flags.Int("rounds", 3, "rounds of each load")
	mails := flags.Int("mails", 4000, "mails of a load with small mails")
	large := flags.Int("large", 200, "mails of 25 MB that are sent at once; 0 for none")
	big := flags.Bool("big", false, "send only the mails of 25 MB")
	flags.StringVar(&profile, "profile", "", "file for a CPU profile of ingest; none by default")
	if err := flags.Parse(args); err != nil {
		return nil, "", err
	}
	b = &smtpBench{rounds: *rounds, out: os.Stdout, loads: []smtpLoad{
		{name: "50 connections", sessions: 50, n: *mails, bytes: 2048},
		{name: "one connection", sessions: 1, n: *mails / 2, bytes: 2048},
	}}
	if *big {
		b.loads = nil
	}
	if *large > 0 {
		b.loads = append(b.loads, smtpLoad{name: fmt.Sprintf("%d mails of 25 MB at once", *large), sessions: *large, n: *large, bytes: 25_000_000, large: true})
	}
	return b, profile, nil
}

func (b *smtpBench) run(ctx context.Context) error {
	for i := range b.loads {
		load := &b.loads[i]
		runs := map[string][]smtpRun{}
		rounds := b.rounds
		if load.large {
			rounds = 1
		}
		for range rounds {
			for _, s := range b.smtp() {
				if load.large && s.Name() == postfixName {
					continue // its processes hold no mail in memory
				}
				r, err := runSMTP(ctx, s, load)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.Name(), load.name, err)
				}
				runs[s.Name()] = append(runs[s.Name()], r)
			}
		}
		if err := smtpTable(b.out, load, runs); err != nil {
			return err
		}
	}
	return nil
}

// runSMTP starts the server, sends the load and stops it. A few mails come before, and do not count.
func runSMTP(ctx context.Context, s smtpServer, load *smtpLoad) (out smtpRun, err error) {
	dir, err := os.MkdirTemp("", "fanmail-bench-smtp-")
	if err != nil {
		return out, fmt.Errorf("make a folder: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	addr, err := s.Start(ctx, dir, load.large)
	defer func() { err = errors.Join(err, s.Stop(context.WithoutCancel(ctx))) }()
	if err != nil {
		return out, err
	}
	warm := 0
	if !load.large {
		warm = 500
		if err := sendMails(ctx, addr, load.sessions, warm, load.bytes); err != nil {
			return out, err
		}
	}
	if err := s.Settle(ctx, warm); err != nil {
		return out, err
	}
	before, err := s.CPU()
	if err != nil {
		return out, err
	}
	start := time.Now()
	if err := sendMails(ctx, addr, load.sessions, load.n, load.bytes); err != nil {
		return out, err
	}
	out.perSecond = float64(load.n) / time.Since(start).Seconds()
	if err := s.Settle(ctx, warm+load.n); err != nil {
		return out, err
	}
	out.cpu, err = s.CPU()
	if err != nil {
		return out, err
	}
	for part := range out.cpu {
		out.cpu[part] = (out.cpu[part] - before[part]) / float64(load.n) * 1000
	}
	out.memory, err = s.Memory()
	return out, err
}

// sendMails sends mails with Postfix's own client, one in each session. It fails if one is not accepted.
func sendMails(ctx context.Context, addr string, sessions, n, bytes int) error {
	cmd := exec.CommandContext(ctx, "smtp-source", "-s", strconv.Itoa(sessions), "-m", strconv.Itoa(n), "-l", strconv.Itoa(bytes), //nolint:gosec // numbers
		"-f", "sender@example.org", "-t", smtpAgent, addr)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("smtp-source: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

func medianOf(runs []smtpRun, of func(*smtpRun) float64) (median, least, most float64) {
	values := make([]float64, len(runs))
	for i := range runs {
		values[i] = of(&runs[i])
	}
	slices.Sort(values)
	return values[len(values)/2], values[0], values[len(values)-1]
}

// smtpTable prints the medians of a load, with their range, and the ratios to Postfix.
func smtpTable(w io.Writer, load *smtpLoad, runs map[string][]smtpRun) error {
	fmt.Fprintf(w, "\n%s: smtp-source -s %d -m %d -l %d\n", load.name, load.sessions, load.n, load.bytes)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "server\taccepted/s\t×\tCPU s/1,000\t×\tby part\tpeak MB")
	rate, cost := func(r *smtpRun) float64 { return r.perSecond }, (*smtpRun).total
	theirs := runs[postfixName]
	for _, name := range slices.Sorted(maps.Keys(runs)) {
		mine := runs[name]
		speed, slow, fast := medianOf(mine, rate)
		cpu, cheap, dear := medianOf(mine, cost)
		timesRate, timesCPU := "", ""
		if len(theirs) > 0 {
			their, _, _ := medianOf(theirs, rate)
			theirCPU, _, _ := medianOf(theirs, cost)
			timesRate, timesCPU = fmt.Sprintf("%.2f", speed/their), fmt.Sprintf("%.2f", cpu/theirCPU)
		}
		var parts, memory []string
		for _, part := range slices.Sorted(maps.Keys(mine[0].cpu)) {
			one, _, _ := medianOf(mine, func(r *smtpRun) float64 { return r.cpu[part] })
			parts = append(parts, fmt.Sprintf("%s %.2f", part, one))
		}
		for _, part := range slices.Sorted(maps.Keys(mine[0].memory)) {
			_, _, most := medianOf(mine, func(r *smtpRun) float64 { return r.memory[part] })
			memory = append(memory, fmt.Sprintf("%s %.0f", part, most/1e6))
		}
		fmt.Fprintf(t, "%s\t%.0f (%.0f–%.0f)\t%s\t%.2f (%.2f–%.2f)\t%s\t%s\t%s\n",
			name, speed, slow, fast, timesRate, cpu, cheap, dear, timesCPU, strings.Join(parts, ", "), strings.Join(memory, ", "))
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("print the results: %w", err)
	}
	return nil
}
