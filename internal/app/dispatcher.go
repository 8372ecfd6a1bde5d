package app

import (
	"context"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/ingest"
	"github.com/fanmail-dev/fanmail/internal/opevents"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// DispatcherConfig configures the process that fans events out and POSTs them.
type DispatcherConfig struct {
	Database
	NATS
	Lifecycle
	Logging
	Outbound
	Proxy
	Name      string `name:"name" env:"FANMAIL_DISPATCHER_NAME" help:"Name of this replica in the table of dispatchers. Defaults to the host's name and the process id."`
	Slots     int    `name:"slots" env:"FANMAIL_SLOTS" default:"512" help:"POSTs in flight at once to endpoints that answer within a second."`
	SlowSlots int    `name:"slow-slots" env:"FANMAIL_SLOW_SLOTS" default:"0" help:"The same for slower endpoints; 0 means four times --slots."`

	ReplayRate  int    `name:"replay-rate" env:"FANMAIL_REPLAY_RATE" default:"500" help:"Most deliveries of replays a second that this process makes."`
	Maintenance string `name:"maintenance" env:"FANMAIL_MAINTENANCE" default:"on" enum:"on,off" help:"on: make and drop the tables' partitions, which takes their owner's rights; off where 'fanmail maintain' does."`
	AgentWebhooks
}

// Validate names the first setting that cannot work.
func (c DispatcherConfig) Validate() error {
	return firstError(c.Database.validate, c.NATS.validate, c.Lifecycle.validate, c.Proxy.validate, c.AgentWebhooks.validate, func() error {
		if c.Slots < 0 {
			return wrong("--slots", "FANMAIL_SLOTS", "must not be negative")
		}
		if c.SlowSlots < 0 {
			return wrong("--slow-slots", "FANMAIL_SLOW_SLOTS", "must not be negative")
		}
		if c.ReplayRate < 0 {
			return wrong("--replay-rate", "FANMAIL_REPLAY_RATE", "must not be negative; 0 means 500")
		}
		return nil
	})
}

// RunDispatcher fans events out, delivers, sweeps and maintains until ctx ends.
func RunDispatcher(ctx context.Context, c DispatcherConfig, log *zap.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return runProcess(ctx, "dispatcher", c.Database, c.NATS, c.Lifecycle, log, func(ctx context.Context, p *process) error {
		return p.addDispatcher(ctx, c)
	})
}

func (p *process) addDispatcher(ctx context.Context, c DispatcherConfig) error {
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "dispatcher"
		}
		c.Name = host + "-" + strconv.Itoa(os.Getpid())
	}
	registry := subscribers.NewRegistry(p.pool, p.nc, p.log)
	if err := await(ctx, p.log, "the webhooks", registry.Load); err != nil {
		return err
	}
	opts := dispatch.Options{
		Name: c.Name, Slots: c.Slots, SlowSlots: c.SlowSlots, AllowHTTP: c.AllowHTTP, AllowNetworks: c.AllowNetworks,
		Proxy: c.Proxy.url(), Drain: p.drain, Streams: p.streams, Log: p.log, Registerer: p.registry, Tracer: p.traces.Tracer(),
	}
	d, err := dispatch.New(p.pool, p.nc, p.js, registry, opts)
	if err != nil {
		return err
	}
	p.add("registry", registry.Run)
	f := fanout.New(p.pool, p.js, registry, fanout.Options{Streams: p.streams, Lanes: d, Log: p.log, Registerer: p.registry, Tracer: p.traces.Tracer()})
	p.ready = append(p.ready, f.Ready, d.Ready)
	p.add("fanout", f.Run)
	p.add("dispatch", d.Run)
	p.add("replay", replay.NewRunner(p.pool, p.nc, p.js, registry, replay.Options{Rate: c.ReplayRate, Log: p.log, Registerer: p.registry}).Run)
	p.add("notices", opevents.New(p.pool, opevents.Options{NC: p.nc, Log: p.log, Registerer: p.registry}).Run)
	own, err := p.addAgents(ctx, c.AgentWebhooks, c.Outbound, c.Proxy)
	if err != nil {
		return err
	}
	if c.Maintenance != off {
		p.add("maintenance", maintenance(p.pool, own, 0, p.log, p.registry).Run)
	}
	return nil
}

// maintenance is what dispatchers do, and 'fanmail maintain' in their stead.
func maintenance(pool *pgxpool.Pool, own *agentwebhook.Deliverer, every time.Duration, log *zap.Logger, registerer prometheus.Registerer) *dispatch.Maintenance {
	// Deliveries come before the events that they need.
	rules := slices.Concat(subscribers.RetentionRules(), ingest.RetentionRules(), outbox.RetentionRules(), replay.RetentionRules(),
		dispatch.RetentionRules(), own.RetentionRules(), api.RetentionRules())
	return dispatch.NewMaintenance(pool, dispatch.MaintenanceOptions{Every: every, Retention: rules, Log: log, Registerer: registerer})
}
