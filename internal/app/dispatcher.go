package app

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/api"
	"github.com/fanmail-dev/fanmail/internal/console"
	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

// DispatcherConfig configures the process that fans events out and POSTs them.
type DispatcherConfig struct {
	Database
	NATS
	Lifecycle
	Logging
	Outbound
	Proxy
	Secrets
	Blobs
	Name      string `name:"name" env:"FANMAIL_DISPATCHER_NAME" help:"Name of this replica in the table of dispatchers. Defaults to the host's name and the process id."`
	Slots     int    `name:"slots" env:"FANMAIL_SLOTS" default:"0" help:"Most POSTs in flight to endpoints that answer within a second; 0 means as many as half of the memory limit and the file descriptors suffice for, 64 to 4096."`
	SlowSlots int    `name:"slow-slots" env:"FANMAIL_SLOW_SLOTS" default:"0" help:"Most POSTs in flight to slower endpoints; 0 means four times --slots."`

	ReplayRate  int    `name:"replay-rate" env:"FANMAIL_REPLAY_RATE" default:"500" help:"Most deliveries of replays a second of this process."`
	Messages    string `name:"delivery-messages" env:"FANMAIL_DELIVERY_MESSAGES" default:"partition" enum:"partition,webhook" help:"What a message to another dispatcher holds: partition: the deliveries of a batch of events to all webhooks of a partition; webhook: those to one webhook, with its id in the subject and those of deliveries and events in headers."`
	Maintenance string `name:"maintenance" env:"FANMAIL_MAINTENANCE" default:"on" enum:"on,off" help:"on: create and drop the tables' partitions, which needs the rights of their owner; off: 'fanmail maintain' does it."`
	AgentWebhooks
	Retention
	AlertMail
}

// Validate names the first setting that cannot work.
func (c DispatcherConfig) Validate() error {
	return firstError(c.Database.validate, c.NATS.validate, c.Lifecycle.validate, c.Proxy.validate, c.Secrets.validate, c.Blobs.validate, c.AgentWebhooks.validate, c.Retention.validate, c.AlertMail.validate, func() error {
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

// RunDispatcher fans events out, delivers and maintains until ctx ends.
func RunDispatcher(ctx context.Context, c DispatcherConfig, log *zap.Logger) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return runProcess(ctx, "dispatcher", c.Database, c.NATS, c.Lifecycle, log, func(ctx context.Context, p *process) error {
		if err := p.useSecrets(ctx, c.Secrets); err != nil {
			return err
		}
		if err := p.useBlobs(c.Blobs); err != nil {
			return err
		}
		return p.addDispatcher(ctx, c)
	})
}

func (p *process) addDispatcher(ctx context.Context, c DispatcherConfig) error {
	if c.Name == "" {
		c.Name = replica()
	}
	proxy, err := c.Proxy.url()
	if err != nil {
		return err
	}
	d, err := engine.NewDispatcher(ctx, p.conn(), engine.Options{
		Name: c.Name, Slots: c.Slots, SlowSlots: c.SlowSlots, AllowHTTP: c.AllowHTTP, AllowNetworks: c.AllowNetworks,
		AllowPorts: c.AllowPorts, Proxy: proxy, ProxyFilters: c.ProxyFilters, Secrets: p.keys, Blobs: p.blobStore(), Usage: p.counter(),
		ReplayRate: c.ReplayRate, MessagePerWebhook: c.Messages == "webhook", Agents: engine.AgentOptions{Slots: c.AgentSlots, Deprecated: c.Deprecated, Sunset: c.Sunset},
		Maintain: c.Maintenance != off, Keep: c.Retention.policy(), Retention: c.Retention.rules(), TenantRows: tenantRows(), Drain: p.drain, Streams: p.streams, Log: p.log, Registerer: p.registry, Tracer: p.traces.Tracer(),
	})
	if err != nil {
		return err
	}
	p.closers = append(p.closers, d.Close)
	if err := engine.Await(ctx, p.log, "the webhooks", d.Load); err != nil {
		return err
	}
	p.state.ready = append(p.state.ready, d.Ready)
	p.state.consuming = append(p.state.consuming, d.Consuming)
	for _, part := range d.Parts() {
		p.addPart(part)
	}
	p.removeOrphans()
	return p.addAlertMail(c.AlertMail)
}

// Kept configures how long the rows of tenants are kept. Give all processes the same.
type Kept struct {
	Events     time.Duration `name:"event-retention" env:"FANMAIL_EVENT_RETENTION" placeholder:"DURATION" help:"How long events are kept, in whole days from 72h to 720h. Without it 720h, which is 30 days. A tenant can have a shorter time."`
	Deliveries time.Duration `name:"delivery-retention" env:"FANMAIL_DELIVERY_RETENTION" placeholder:"DURATION" help:"How long deliveries are kept, likewise; not longer than events. One that is still pending then fails as expired."`
	Attempts   time.Duration `name:"attempt-retention" env:"FANMAIL_ATTEMPT_RETENTION" placeholder:"DURATION" help:"How long attempts are kept, likewise; not longer than deliveries."`
	Mail       time.Duration `name:"mail-retention" env:"FANMAIL_MAIL_RETENTION" placeholder:"DURATION" help:"How long messages and raw mail are kept, likewise."`
}

func (k Kept) validate() error {
	for _, f := range []struct {
		kept      time.Duration
		flag, env string
	}{
		{k.Events, "--event-retention", "FANMAIL_EVENT_RETENTION"},
		{k.Deliveries, "--delivery-retention", "FANMAIL_DELIVERY_RETENTION"},
		{k.Attempts, "--attempt-retention", "FANMAIL_ATTEMPT_RETENTION"},
		{k.Mail, "--mail-retention", "FANMAIL_MAIL_RETENTION"},
	} {
		if f.kept != 0 && (f.kept < retention.Shortest || f.kept > retention.Longest || f.kept%(24*time.Hour) != 0) {
			return wrong(f.flag, f.env, "must be whole days from 72h to 720h, such as 168h for seven days")
		}
	}
	return nil
}

// policy is that of the installation.
func (k Kept) policy() retention.Policy {
	return retention.Policy{Events: k.Events, Deliveries: k.Deliveries, Attempts: k.Attempts, Mail: k.Mail}.Within()
}

// Retention configures how long rows are kept that no other setting bounds.
type Retention struct {
	Kept
	Audit time.Duration `name:"audit-retention" env:"FANMAIL_AUDIT_RETENTION" default:"8760h" help:"How long entries of the audit log are kept, at least 24h."`
}

func (r Retention) validate() error {
	if err := r.Kept.validate(); err != nil {
		return err
	}
	if r.Audit != 0 && r.Audit < 24*time.Hour {
		return wrong("--audit-retention", "FANMAIL_AUDIT_RETENTION", "must be at least 24h: the audit log is dropped by the day")
	}
	return nil
}

// tenantRows are how all rows of a tenant are deleted.
func tenantRows() []pg.TenantRows {
	return engine.TenantRows(slices.Concat(api.TenantRows(), console.TenantRows()))
}

// rules are those of the tables that the engine does not know.
func (r Retention) rules() []retention.Rule {
	return slices.Concat(api.RetentionRules(r.Audit), console.RetentionRules())
}
