package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/fanout"
	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/erasure"
	"github.com/fanmail-dev/fanmail/internal/eventtype"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/opevents"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/relay"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Conn is what the parts work on.
type Conn struct {
	// Pool has the engine's settings, see [Pool].
	Pool *pgxpool.Pool
	NC   *nats.Conn
	JS   jetstream.JetStream
}

// Publisher is the part that relays the outbox to the broker.
func Publisher(c Conn, o Options) Part {
	r := relay.New(c.Pool, c.NC, c.JS, relay.Options{Streams: o.Streams, Log: o.Log, Registerer: o.Registerer, Tracer: o.Tracer})
	return Part{Name: "relay", Run: r.Run, Publishing: r.Publishing}
}

// Dispatcher are the parts that fan out and deliver. Create one with
// [NewDispatcher].
type Dispatcher struct {
	registry *subscribers.Registry
	dispatch *dispatch.Dispatcher
	fanout   *fanout.Fanout
	agents   *agentwebhook.Deliverer
	opevents *opevents.Worker
	replay   *replay.Runner
	erasure  *erasure.Worker
	maintain *dispatch.Maintenance // nil: another process maintains
	opened   []func()              // close what NewDispatcher opened
}

// NewDispatcher creates the parts. Call [Dispatcher.Load] before they run. What
// it opened is closed when [Dispatcher.Close] is called.
func NewDispatcher(ctx context.Context, c Conn, o Options) (*Dispatcher, error) {
	own, err := agentPool(ctx, c.Pool)
	if err != nil {
		return nil, err
	}
	d := &Dispatcher{registry: subscribers.NewRegistry(c.Pool, c.NC, o.log()).WithKeyring(o.Secrets), opened: []func(){own.Close}}
	counter := o.Usage
	if counter == nil {
		counter = usage.New(c.Pool, o.log())
		d.opened = append(d.opened, counter.Close)
	}
	lately := activity.NewRecorder()
	d.dispatch, err = dispatch.New(c.Pool, c.NC, c.JS, d.registry, dispatch.Options{
		Name: o.Name, Slots: o.Slots, SlowSlots: o.SlowSlots, AllowHTTP: o.AllowHTTP, AllowNetworks: o.AllowNetworks,
		AllowPorts: o.AllowPorts, Proxy: o.Proxy, ProxyFilters: o.ProxyFilters, Drain: o.Drain, Streams: o.Streams, Log: o.Log, Registerer: o.Registerer, Tracer: o.Tracer,
		OldEnvelope: oldEnvelopes(c.Pool, o.Blobs),
		Activity:    lately, PastBroker: func() bool { return d.fanout.Publishing().PastBroker },
	})
	if err != nil {
		own.Close()
		return nil, err
	}
	d.fanout = fanout.New(c.Pool, c.JS, d.registry, fanout.Options{
		Streams: o.Streams, Lanes: d.dispatch, PerWebhook: o.MessagePerWebhook, Log: o.Log, Registerer: o.Registerer, Tracer: o.Tracer,
		Count:     func(tenant events.TenantID, bytes int64) { counter.Add(tenant, usage.Amount{Events: 1, Bytes: bytes}) },
		FannedOut: lately.Event,
	})
	d.replay = replay.NewRunner(c.Pool, c.NC, c.JS, d.registry, replay.Options{Rate: o.ReplayRate, Log: o.Log, Registerer: o.Registerer})
	d.opevents = opevents.New(c.Pool, opevents.Options{NC: c.NC, Log: o.Log, Registerer: o.Registerer})
	d.agents = agents(own, c.NC, o, lately)
	d.erasure = erasure.New(c.Pool, erasure.Options{Rows: o.Maintain, Outside: true, JS: c.JS, Blobs: o.Blobs, Tables: o.TenantRows, Log: o.Log, Registerer: o.Registerer})
	if o.Maintain {
		d.maintain = newMaintenance(c.Pool, d.agents, 0, o)
	}
	return d, nil
}

// Agents delivers to the agents' own webhooks.
func Agents(pool *pgxpool.Pool, nc *nats.Conn, o Options) *agentwebhook.Deliverer {
	return agents(pool, nc, o, nil)
}

func agents(pool *pgxpool.Pool, nc *nats.Conn, o Options, lately *activity.Recorder) *agentwebhook.Deliverer {
	return agentwebhook.New(pool, nc, agentwebhook.Options{
		Slots: o.Agents.Slots, AllowHTTP: o.AllowHTTP, AllowNetworks: o.AllowNetworks,
		AllowPorts: o.AllowPorts, Proxy: o.Proxy, ProxyFilters: o.ProxyFilters,
		Deprecated: o.Agents.Deprecated, Sunset: o.Agents.Sunset, Blobs: o.Blobs, Drain: o.Drain, Log: o.Log, Registerer: o.Registerer,
		Activity: lately,
	})
}

// Maintenance is what a dispatcher maintains, for a process that does it in the
// dispatchers' stead. A round begins every so often; zero: every 5 minutes.
func Maintenance(pool *pgxpool.Pool, every time.Duration, o Options) *dispatch.Maintenance {
	return newMaintenance(pool, agentwebhook.New(pool, nil, agentwebhook.Options{Log: o.Log}), every, o)
}

// TenantRows are how all rows of a tenant are deleted, with those of the tables that the engine does not know. What refers
// to a table comes before it.
func TenantRows(others []pg.TenantRows) []pg.TenantRows {
	return slices.Concat(replay.TenantRows(), agentwebhook.TenantRows(), subscribers.TenantRows(), opevents.TenantRows(), eventtype.TenantRows(), mailbox.TenantRows(),
		usage.TenantRows(), outbox.TenantRows(), others, tenancy.TenantRows())
}

// Erasure removes the rows that are to be erased, for a process that maintains in the dispatchers' stead.
func Erasure(pool *pgxpool.Pool, o Options) *erasure.Worker {
	return erasure.New(pool, erasure.Options{Rows: true, Tables: o.TenantRows, Log: o.Log, Registerer: o.Registerer})
}

func newMaintenance(pool *pgxpool.Pool, agents *agentwebhook.Deliverer, every time.Duration, o Options) *dispatch.Maintenance {
	keep := o.Keep
	keep.Tenants = tenancy.Shorter
	// Deliveries come before the events that they need.
	rules := slices.Concat(subscribers.RetentionRules(keep), mailbox.RetentionRules(keep), outbox.RetentionRules(keep), replay.RetentionRules(), dispatch.RetentionRules(),
		agents.RetentionRules(), opevents.RetentionRules(), usage.RetentionRules(), erasure.RetentionRules(), o.Retention)
	return dispatch.NewMaintenance(pool, dispatch.MaintenanceOptions{Every: every, Retention: rules, Log: o.Log, Registerer: o.Registerer})
}

// agentPool opens the pool for the deliveries to the agents' own webhooks, which then
// take no connection from the subscribers' path.
func agentPool(ctx context.Context, engine *pgxpool.Pool) (*pgxpool.Pool, error) {
	cfg := engine.Config()
	cfg.MaxConns, cfg.MinConns, cfg.MinIdleConns = pg.AgentConns(cfg.MaxConns), 0, 0
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open the database for the agents' webhooks: %w", err)
	}
	return pool, nil
}

// Load reads all webhooks; the parts start with them.
func (d *Dispatcher) Load(ctx context.Context) error { return d.registry.Load(ctx) }

// Ready returns why nothing is delivered yet, or nil.
func (d *Dispatcher) Ready() error { return d.dispatch.Owning() }

// Consuming returns why nothing comes from the broker yet, or nil. Without it the
// dispatcher takes events from the outbox and deliveries from their table.
func (d *Dispatcher) Consuming() error { return errors.Join(d.fanout.Ready(), d.dispatch.Ready()) }

// Parts are what is to run.
func (d *Dispatcher) Parts() []Part {
	parts := []Part{
		{Name: "registry", Run: d.registry.Run},
		{Name: "fanout", Run: d.fanout.Run, Publishing: d.fanout.Publishing},
		{Name: "dispatch", Run: d.dispatch.Run},
		{Name: "replay", Run: d.replay.Run},
		{Name: "opevents", Run: d.opevents.Run},
		{Name: "agents", Run: d.agents.Run},
		{Name: "erasure", Run: d.erasure.Run},
	}
	if d.maintain != nil {
		parts = append(parts, Part{Name: "maintenance", Run: d.maintain.Run})
	}
	return parts
}

// Close closes the connections that [NewDispatcher] opened, once the parts have
// ended.
func (d *Dispatcher) Close() {
	for _, end := range d.opened {
		end()
	}
}
