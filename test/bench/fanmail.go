package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/devserver"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/test/e2e/process"
)

// Fanmail runs as in production: a durable Postgres, a NATS that writes to disk
// before it acknowledges, one publisher and one dispatcher, each a process.
type Fanmail struct {
	bin       string // where the commands were built
	pg        *devserver.Postgres
	pool      *pgxpool.Pool
	nc        *nats.Conn
	tenant    events.TenantID
	processes []*process.Process
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
	if f.pg, err = devserver.StartPostgres(ctx, devserver.PostgresOptions{Dir: dir}); err != nil {
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
		env := []string{
			"FANMAIL_DATABASE_URL=" + f.pg.URL("postgres"), "FANMAIL_NATS_URL=nats://" + broker, "FANMAIL_MIGRATE=true",
			"FANMAIL_ALLOW_HTTP=true", "FANMAIL_ALLOW_NETWORKS=127.0.0.0/8", "FANMAIL_HTTP_ADDR=" + health,
		}
		if err := f.run(ctx, dir, name, "http://"+health+"/readyz", nil, env); err != nil {
			return err
		}
	}
	if f.pool, err = pgxpool.New(ctx, f.pg.URL("postgres")); err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	if f.nc, err = nats.Connect("nats://" + broker); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	f.tenant = events.NewRandom[events.TenantKind]()
	if _, err := f.pool.Exec(ctx, `INSERT INTO tenants (id, name) VALUES ($1, 'bench')`, f.tenant); err != nil {
		return fmt.Errorf("make the tenant: %w", err)
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
func (f *Fanmail) Subscribe(ctx context.Context, url, agent string) error {
	limits := subscribers.Limits{AllowHTTP: true, AllowNetworks: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, WebhooksPerTenant: 1000}
	hook := subscribers.Webhook{
		URL: url, Events: []events.Type{events.EmailReceived}, Enabled: true,
		MaxInFlight: subscribers.DefaultMaxInFlight, Ordering: subscribers.OrderingNone,
	}
	if agent != "" {
		if _, err := f.pool.Exec(ctx, `INSERT INTO agents (address, tenant_id) VALUES ($1, $2) ON CONFLICT DO NOTHING`, agent, f.tenant); err != nil {
			return fmt.Errorf("make the agent: %w", err)
		}
		hook.Filters.AgentIDs = []string{agent}
	}
	_, _, err := subscribers.NewStore(f.pool, limits).Create(ctx, f.tenant, hook)
	return err
}

// Accept implements [System].
func (f *Fanmail) Accept(ctx context.Context, evs []Event) ([]string, error) {
	in := make([]events.Event, len(evs))
	for i, ev := range evs {
		in[i] = events.Event{TenantID: f.tenant, Type: events.EmailReceived, AgentID: ev.Agent, Data: ev.Data}
	}
	var done []outbox.Inserted
	err := pgx.BeginFunc(ctx, f.pool, func(tx pgx.Tx) (err error) {
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

var errPending = errors.New("outcomes are still to be written")

// Settle implements [System].
func (f *Fanmail) Settle(ctx context.Context) error {
	ask := func() error {
		var pending bool
		err := f.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM outbox) OR
			EXISTS (SELECT FROM webhook_subscriber_deliveries WHERE status = 'pending')`).Scan(&pending)
		if err == nil && pending {
			err = errPending
		}
		return err
	}
	return backoff.Retry(ask, backoff.WithContext(backoff.NewConstantBackOff(50*time.Millisecond), ctx))
}

// CPU implements [System].
func (f *Fanmail) CPU() (map[string]float64, error) {
	b, err := os.ReadFile(filepath.Join(f.pg.DataDir, "postmaster.pid"))
	if err != nil {
		return nil, fmt.Errorf("find Postgres's process: %w", err)
	}
	pid, _, _ := strings.Cut(string(b), "\n")
	parts := map[string]float64{}
	parts["postgres"], err = cpuOfFamily(pid)
	for _, p := range f.processes {
		if err == nil {
			parts[p.Name], err = cpuOf(strconv.Itoa(p.PID()))
		}
	}
	return parts, err
}

// Stop implements [System].
func (f *Fanmail) Stop(ctx context.Context) error {
	if f.pool != nil {
		f.pool.Close()
	}
	if f.nc != nil {
		f.nc.Close()
	}
	var errs []error
	for i := len(f.processes) - 1; i >= 0; i-- {
		errs = append(errs, f.processes[i].Stop(ctx))
	}
	if f.pg != nil {
		f.pg.Stop()
	}
	*f = Fanmail{bin: f.bin}
	return errors.Join(errs...)
}
