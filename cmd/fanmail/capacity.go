package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/alecthomas/kong"

	"github.com/fanmail-dev/fanmail/internal/capacity"
)

type capacityCmd struct {
	Plan  capacityPlanCmd  `cmd:"" default:"withargs" help:"Plan the machines for a load, and print what saturates first. The default." example:"fanmail capacity --events 1000 --fan-out 3"`
	Place capacityPlaceCmd `cmd:"" help:"Place tenants on several databases." example:"fanmail capacity place --database a,b=2"`
}

type capacityPlanCmd struct {
	Events        float64 `default:"100" placeholder:"N" help:"Events a second. Defaults to 100."`
	FanOut        float64 `default:"1" placeholder:"N" help:"Webhooks that an event matches. Defaults to 1."`
	PayloadKB     float64 `name:"payload-kb" default:"2" placeholder:"KB" help:"Size of an envelope. Defaults to 2."`
	RetentionDays float64 `default:"30" placeholder:"DAYS" help:"How long events and deliveries are kept. Defaults to 30."`
	BrokerDays    float64 `default:"30" placeholder:"DAYS" help:"How long the broker keeps relayed events: --events-max-age of the processes. Defaults to 30."`
	Failing       float64 `default:"0.02" placeholder:"SHARE" help:"Share of the deliveries whose attempts all fail, 0 to 1. Defaults to 0.02."`
	LatencyMS     float64 `name:"latency-ms" default:"100" placeholder:"MS" help:"Response time of the endpoints. Defaults to 100."`
	Hanging       float64 `default:"0" placeholder:"N" help:"Endpoints that never answer. Defaults to 0."`
	Webhooks      float64 `default:"1000" placeholder:"N" help:"Webhooks in all. Defaults to 1000."`

	Busy          float64 `default:"0.5" placeholder:"SHARE" help:"Share of a resource to plan for. Defaults to 0.5."`
	Cores         float64 `default:"4" placeholder:"N" help:"Cores of a dispatcher's or publisher's machine. Defaults to 4."`
	MemoryMB      float64 `name:"memory-mb" default:"537" placeholder:"MB" help:"GOMEMLIMIT of a dispatcher, which sets its slots; in a container nine tenths of the limit. Defaults to 537, which is 512 MiB."`
	PostgresCores float64 `default:"16" placeholder:"N" help:"Cores of Postgres's machine. Defaults to 16."`
	BrokerCores   float64 `default:"4" placeholder:"N" help:"Cores of each NATS node. Defaults to 4."`
	PostgresLogMB float64 `name:"postgres-log-mb" default:"200" placeholder:"MB/s" help:"Write rate of the disk of Postgres's log. Defaults to 200."`
	BrokerDiskMB  float64 `name:"broker-disk-mb" default:"200" placeholder:"MB/s" help:"Write rate of the disk of each NATS node. Defaults to 200."`
	PostgresDisk  float64 `name:"postgres-disk-tb" default:"8" placeholder:"TB" help:"Size of Postgres's disk. Defaults to 8."`
	BrokerDisk    float64 `name:"broker-disk-tb" default:"8" placeholder:"TB" help:"Size of the disk of each NATS node. Defaults to 8."`
	Replicas      float64 `name:"stream-replicas" default:"3" placeholder:"N" help:"Replicas of the streams. Defaults to 3."`

	Bench string `type:"existingfile" placeholder:"FILE" help:"Results of the benchmark on your machine (make bench). Defaults to the built-in figures."`
	JSON  bool   `name:"json" help:"Print JSON."`
}

// Run prints the plan.
func (c *capacityPlanCmd) Run(s *session, k *kong.Context) error {
	measured := capacity.Reference
	if c.Bench != "" {
		b, err := os.ReadFile(c.Bench)
		if err == nil {
			measured, err = capacity.FromBench(b)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", c.Bench, err)
		}
	}
	load := capacity.Load{
		EventsPerSecond: c.Events, FanOut: c.FanOut, PayloadKB: c.PayloadKB, RetentionDays: c.RetentionDays, BrokerDays: c.BrokerDays,
		Failing: c.Failing, LatencyMS: c.LatencyMS, Hanging: c.Hanging, Webhooks: c.Webhooks,
	}
	machines := capacity.Machines{
		Busy: c.Busy, Cores: c.Cores, MemoryMB: c.MemoryMB, PostgresCores: c.PostgresCores, BrokerCores: c.BrokerCores,
		PostgresLogMB: c.PostgresLogMB, BrokerDiskMB: c.BrokerDiskMB,
		PostgresDiskTB: c.PostgresDisk, BrokerDiskTB: c.BrokerDisk, Replicas: c.Replicas,
	}
	p, err := capacity.New(load, machines, measured)
	if err != nil {
		return err
	}
	if c.JSON {
		return printIndented(s.out, struct {
			Load     capacity.Load     `json:"load"`
			Machines capacity.Machines `json:"machines"`
			Measured capacity.Measured `json:"measured"`
			Plan     capacity.Plan     `json:"plan"`
		}{load, machines, measured, p})
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	line := func(what, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, args...))
	}
	line("load", "%.0f deliveries/s, %.0f attempts/s, %.0f in flight", p.Deliveries, p.Attempts, p.InFlight)
	if p.PerWebhook > 0 {
		line("one webhook", "takes at most %.0f deliveries/s", p.PerWebhook)
	}
	line("publishers", "%d, %.2f cores in all", p.Publishers, p.PublisherCores)
	line("dispatchers", "%d, %.2f cores in all, %s of memory and %d slots each", p.Dispatchers, p.DispatcherCores, bytesText(p.DispatcherMemory), p.Slots)
	line("Postgres", "%d, %.2f cores, %.1f MB/s of log, %s of disk", p.Databases, p.PostgresCores, p.PostgresLog, bytesText(p.PostgresDisk))
	line("NATS", "%.0f nodes; %.2f cores, %.1f MB/s to the disk, %.1f MB/s of network, %s of disk on each", c.Replicas, p.BrokerCores, p.BrokerWrites, p.BrokerNetwork, bytesText(p.BrokerDisk))
	_, _ = fmt.Fprintf(w, "\nwhat saturates first, planned to be %.0f %% busy:\n", c.Busy*100)
	for _, l := range p.Limits {
		line("  "+l.Resource, "%.1f %% used; good for %.1f times the load; then %s", l.Used*100, l.Times, l.Then)
	}
	_, _ = fmt.Fprintf(w, "\ncosts: %s\n\nassumed; each is a flag:\n", measured.Source)
	for _, f := range k.Selected().Flags {
		if f.HasDefault {
			what, _, _ := strings.Cut(f.Help, " Defaults to ")
			line(fmt.Sprintf("  --%s %v", f.Name, f.Target.Interface()), "%s", what)
		}
	}
	return w.Flush()
}

// bytesText formats a number of bytes.
func bytesText(n float64) string {
	units := []string{"B", "kB", "MB", "GB", "TB", "PB"}
	i := 0
	for ; n >= 1000 && i < len(units)-1; i++ {
		n /= 1000
	}
	return fmt.Sprintf("%.3g %s", n, units[i])
}
