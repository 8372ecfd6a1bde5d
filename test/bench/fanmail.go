package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/e2e/process"
)

// Fanmail runs as in production: a durable Postgres, a NATS that writes to disk
// before it acknowledges, one publisher and one dispatcher, each a process with
// its defaults.
type Fanmail struct {
	// Pprof has the publisher and the dispatcher serve profiles.
	Pprof     bool
	bin       string // where the commands were built
	pg        *postgres
	nc        *nats.Conn
	tenants   map[string]events.TenantID
	processes []*process.Process
	debug     map[string]string
}

// NewFanmail builds the commands into dir.
func NewFanmail(ctx context.Context, dir string) (*Fanmail, error) {
	err := process.Build(ctx, dir, "test/e2e/natsd", "cmd/publisher", "cmd/dispatcher")
	return &Fanmail{bin: dir}, err
}

// Name is "fanmail".
func (*Fanmail) Name() string { return "fanmail" }

// Start implements [System].
func (f *Fanmail) Start(ctx context.Context, dir string) (err error) {
	f.tenants, f.debug = map[string]events.TenantID{}, map[string]string{}
	if f.pg, err = startPostgres(ctx, dir); err != nil {
		return err
	}
	broker, err := process.FreeAddr()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(broker)
	if err != nil {
		return err
	}
	if err := f.run(ctx, dir, "natsd", broker, []string{"-dir", filepath.Join(dir, "nats"), "-port", port, "-sync"}, nil); err != nil {
		return err
	}
	for _, name := range []string{"publisher", "dispatcher"} {
		health, err := process.FreeAddr()
		if err != nil {
			return err
		}
		f.debug[name] = "http://" + health
		env := []string{
			"FANMAIL_DATABASE_URL=" + f.pg.url(), "FANMAIL_NATS_URL=nats://" + broker, "FANMAIL_MIGRATE=true",
			"FANMAIL_ALLOW_HTTP=true", "FANMAIL_ALLOW_NETWORKS=127.0.0.0/8", "FANMAIL_HTTP_ADDR=" + health, "FANMAIL_PPROF=" + strconv.FormatBool(f.Pprof),
		}
		if err := f.run(ctx, dir, name, f.debug[name]+"/readyz", nil, env); err != nil {
			return err
		}
	}
	if f.nc, err = nats.Connect("nats://" + broker); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	return nil
}

func (f *Fanmail) run(ctx context.Context, dir, name, ready string, args, env []string) error {
	p, err := process.Start(ctx, process.Spec{Name: name, Bin: filepath.Join(f.bin, name), Args: args, Env: env, Logs: dir, Ready: ready})
	if err == nil {
		f.processes = append(f.processes, p)
	}
	return err
}

// Subscribe implements [System].
func (f *Fanmail) Subscribe(ctx context.Context, endpoints []Endpoint) error {
	store := subscribers.NewStore(f.pg.pool, subscribers.Limits{
		AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, WebhooksPerTenant: len(endpoints),
	})
	for i := range endpoints {
		e := &endpoints[i]
		tenant, ok := f.tenants[e.Tenant]
		if !ok {
			tenant = events.NewRandom[events.TenantKind]()
			if _, err := f.pg.pool.Exec(ctx, `INSERT INTO tenants (id, name) VALUES ($1, $2)`, tenant, e.Tenant); err != nil {
				return fmt.Errorf("make a tenant: %w", err)
			}
			f.tenants[e.Tenant] = tenant
		}
		if _, err := f.pg.pool.Exec(ctx, `INSERT INTO agents (address, tenant_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, e.Agent, tenant); err != nil {
			return fmt.Errorf("make an agent: %w", err)
		}
		hook := subscribers.Webhook{
			URL: e.URL, Events: []events.Type{events.EmailReceived}, Enabled: true,
			Filters: subscribers.Filters{AgentIDs: []string{e.Agent}},
		}
		if _, _, err := store.Create(ctx, tenant, hook); err != nil {
			return err
		}
	}
	return nil
}

// Accept implements [System].
func (f *Fanmail) Accept(ctx context.Context, evs []Event) ([]string, error) {
	in := make([]events.Event, len(evs))
	for i, ev := range evs {
		in[i] = events.Event{TenantID: f.tenants[ev.Tenant], Type: events.EmailReceived, AgentID: ev.Agent, Data: ev.Data}
	}
	var done []outbox.Inserted
	err := pgx.BeginFunc(ctx, f.pg.pool, func(tx pgx.Tx) (err error) {
		done, err = outbox.InsertMany(ctx, tx, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	outbox.Wake(f.nc)
	ids := make([]string, len(done))
	for i, d := range done {
		ids[i] = d.ID.String()
	}
	return ids, nil
}

// Settle implements [System].
func (f *Fanmail) Settle(ctx context.Context) error {
	return f.pg.settle(ctx, `SELECT EXISTS (SELECT FROM outbox) OR
		EXISTS (SELECT FROM webhook_subscriber_deliveries WHERE status = 'pending')`)
}

// Usage implements [System].
func (f *Fanmail) Usage(ctx context.Context) (Usage, error) {
	u := Usage{CPU: map[string]float64{}, Written: map[string]float64{}}
	err := f.pg.usage(ctx, &u)
	for _, p := range f.processes {
		if err != nil {
			break
		}
		pid := strconv.Itoa(p.PID())
		if u.CPU[p.Name], err = cpuOf(pid); err == nil && p.Name == "natsd" {
			u.Written["nats"], err = writtenBy(pid)
		}
	}
	return u, err
}

// Memory implements [System].
func (f *Fanmail) Memory() (map[string]float64, error) { return memoryOf(f.pg, f.processes) }

// Debug implements [System].
func (f *Fanmail) Debug() map[string]string { return f.debug }

// Stop implements [System].
func (f *Fanmail) Stop(ctx context.Context) error {
	if f.nc != nil {
		f.nc.Close()
	}
	var errs []error
	for i := len(f.processes) - 1; i >= 0; i-- {
		errs = append(errs, f.processes[i].Stop(ctx))
	}
	f.pg.stop()
	*f = Fanmail{Pprof: f.Pprof, bin: f.bin}
	return errors.Join(errs...)
}
