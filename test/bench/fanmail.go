package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/process"
)

// Fanmail runs as in production: a durable Postgres, a NATS with sync_interval always, one publisher,
// and one or more dispatchers. Each is a process with its defaults.
type Fanmail struct {
	// Pprof makes the publisher and the dispatchers serve profiles.
	Pprof bool
	// Cache is a directory for loaded tables, which are loaded once.
	Cache     string
	bin       string // directory of the built commands
	pg        *postgres
	nc        *nats.Conn
	waker     *outbox.Waker
	hooks     []events.WebhookID // webhooks that are subscribed
	processes []*process.Process
	debug     map[string]string
}

// NewFanmail builds the commands into dir.
func NewFanmail(ctx context.Context, dir string) (*Fanmail, error) {
	err := process.Build(ctx, dir, "test/natsd", "cmd/publisher", "cmd/dispatcher")
	return &Fanmail{bin: dir}, err
}

// Name is "fanmail".
func (*Fanmail) Name() string { return "fanmail" }

// Start implements [System].
func (f *Fanmail) Start(ctx context.Context, dir string, w *Workload) (err error) {
	f.debug = map[string]string{}
	if w.State != (State{}) {
		tables, err := w.State.template(ctx, f.Cache)
		if err == nil {
			err = copyTree(ctx, tables, dir)
		}
		if err != nil {
			return err
		}
	}
	if f.pg, err = startPostgres(ctx, dir); err != nil {
		return err
	}
	nodes := max(w.Nodes, 1)
	broker, err := f.startBroker(ctx, dir, nodes)
	if err != nil {
		return err
	}
	if err := f.startCommands(ctx, dir, w, []string{
		"FANMAIL_DATABASE_URL=" + f.pg.url(), "FANMAIL_NATS_URL=" + broker, "FANMAIL_MIGRATE=true", "FANMAIL_STREAM_REPLICAS=" + strconv.Itoa(nodes),
		"FANMAIL_ALLOW_HTTP=true", "FANMAIL_ALLOW_NETWORKS=127.0.0.0/8", "FANMAIL_PPROF=" + strconv.FormatBool(f.Pprof),
	}); err != nil {
		return err
	}
	if f.nc, err = nats.Connect(broker); err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	f.waker = outbox.NewWaker(f.nc)
	if err := f.shared(ctx, max(w.Dispatchers, 1)); err != nil {
		return err
	}
	if w.State.OldDay == 0 {
		return nil
	}
	// The first round of maintenance drops the day's other tables, the events last. The next round
	// comes minutes later.
	if err := f.pg.settle(ctx, `SELECT to_regclass($1) IS NOT NULL`, dayTable("events", oldDay(time.Now()))); err != nil {
		return err
	}
	return attachOldDay(ctx, f.pg.pool)
}

// shared waits until every dispatcher owns its share of the partitions.
func (f *Fanmail) shared(ctx context.Context, dispatchers int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("the dispatchers did not share the partitions within a minute"))
	defer cancel()
	return f.pg.settle(ctx, `SELECT count(*) < $1 OR sum(n) < $2 OR max(n) > ($2 + $1 - 1) / $1
		FROM (SELECT count(*) AS n FROM fanmail.partition_owners WHERE leased_until > now() GROUP BY owner) AS o`, dispatchers, events.Partitions)
}

// startCommands starts the publisher and the dispatchers.
func (f *Fanmail) startCommands(ctx context.Context, dir string, w *Workload, env []string) error {
	names := []string{"publisher"}
	for i := range max(w.Dispatchers, 1) {
		names = append(names, part("dispatcher", i))
	}
	for _, name := range names {
		health, err := process.FreeAddr()
		if err != nil {
			return err
		}
		f.debug[name] = "http://" + health
		own := append(slices.Clone(env), "FANMAIL_HTTP_ADDR="+health)
		if w.Names.used() && name != "publisher" {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("start %s: %w", name, err)
			}
			own = append(own, w.Names.env()...)
			err = f.launch(ctx, process.Spec{Name: name, Bin: self, Args: []string{dispatcherCommand}, Env: own, Logs: dir, Ready: f.debug[name] + "/readyz"})
			if err != nil {
				return err
			}
		} else if err := f.run(ctx, dir, name, f.debug[name]+"/readyz", nil, own); err != nil {
			return err
		}
	}
	return nil
}

func (f *Fanmail) run(ctx context.Context, dir, name, ready string, args, env []string) error {
	bin, _, _ := strings.Cut(name, "-")
	return f.launch(ctx, process.Spec{Name: name, Bin: filepath.Join(f.bin, bin), Args: args, Env: env, Logs: dir, Ready: ready})
}

func (f *Fanmail) launch(ctx context.Context, s process.Spec) error {
	p, err := process.Start(ctx, s)
	if err == nil {
		f.processes = append(f.processes, p)
	}
	return err
}

// Subscribe implements [System]. It writes the rows that the API would write. The ids are derived from
// the names; see [State].
func (f *Fanmail) Subscribe(ctx context.Context, endpoints []Endpoint) error {
	var tenants, agents, urls, secrets []string
	var owners []events.TenantID
	for i := range endpoints {
		e := &endpoints[i]
		tenants, agents, urls = append(tenants, e.Tenant), append(agents, e.Agent), append(urls, e.URL)
		owners, f.hooks = append(owners, tenantID(e.Tenant)), append(f.hooks, webhookID(e.Path))
		secrets = append(secrets, signature.NewSecret())
	}
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO fanmail.tenants (id, name) SELECT DISTINCT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT DO NOTHING`, owners, tenants)
	b.Queue(`INSERT INTO fanmail.agents (address, tenant_id) SELECT DISTINCT * FROM unnest($1::text[], $2::uuid[])`, agents, owners)
	b.Queue(`INSERT INTO fanmail.webhooks (id, tenant_id, url, events, filter_agent_ids, signing_secret)
		SELECT id, tenant_id, url, $6, ARRAY[agent], secret
		FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[]) AS w (id, tenant_id, url, agent, secret)`,
		f.hooks, owners, urls, agents, secrets, []events.Type{events.EmailReceived})
	if err := f.pg.pool.SendBatch(ctx, b).Close(); err != nil {
		return fmt.Errorf("make the webhooks: %w", err)
	}
	return nil
}

// Accept implements [System].
func (f *Fanmail) Accept(ctx context.Context, evs []Event) ([]string, error) {
	in := make([]events.Event, len(evs))
	for i, ev := range evs {
		in[i] = events.Event{TenantID: tenantID(ev.Tenant), Type: events.EmailReceived, AgentID: ev.Agent, Data: ev.Data}
	}
	var done []outbox.Inserted
	err := pgx.BeginFunc(ctx, f.pg.pool, func(tx pgx.Tx) (err error) {
		done, err = outbox.InsertMany(ctx, tx, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	f.waker.Wake()
	ids := make([]string, len(done))
	for i, d := range done {
		ids[i] = d.ID.String()
	}
	return ids, nil
}

// Settle implements [System].
func (f *Fanmail) Settle(ctx context.Context) error {
	return f.pg.settle(ctx, `SELECT EXISTS (SELECT FROM fanmail.outbox) OR
		EXISTS (SELECT FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending' AND NOT strict AND webhook_id = ANY($1::uuid[]))`, f.hooks)
}

// Hasten implements [System]. Otherwise the first retry comes after a minute.
func (f *Fanmail) Hasten(ctx context.Context) error {
	err := f.pg.settle(ctx, `SELECT EXISTS (SELECT FROM fanmail.outbox) OR
		EXISTS (SELECT FROM fanmail.webhook_subscriber_deliveries WHERE status = 'pending' AND NOT strict AND webhook_id = ANY($1::uuid[]) AND attempts = 0)`, f.hooks)
	if err != nil {
		return err
	}
	rows, err := f.pg.pool.Query(ctx, `
WITH due AS (
	UPDATE fanmail.webhook_subscriber_deliveries SET next_retry_at = now() WHERE status = 'pending' AND NOT strict AND webhook_id = ANY($1::uuid[]) RETURNING webhook_id
)
SELECT DISTINCT webhook_id FROM due`, f.hooks)
	if err != nil {
		return fmt.Errorf("hasten the retries: %w", err)
	}
	var hook events.WebhookID
	_, err = pgx.ForEachRow(rows, []any{&hook}, func() error {
		return f.nc.Publish(events.WakeLane(hook), []byte(hook.String())) // as the API does
	})
	if err != nil {
		return fmt.Errorf("hasten the retries: %w", err)
	}
	return nil
}

// DropDay implements [System] with a round of the dispatcher's own retention.
func (f *Fanmail) DropDay(ctx context.Context) error {
	done, err := retention.Run(ctx, f.pg.pool, subscribers.RetentionRules(retention.Policy{}))
	if err == nil && done.Dropped == 0 {
		err = errors.New("nothing was past its retention")
	}
	return err
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
		if u.CPU[p.Name], err = cpuOf(pid); err == nil && strings.HasPrefix(p.Name, "natsd") {
			var more float64
			more, err = writtenBy(pid)
			u.Written["nats"] += more
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
	*f = Fanmail{Pprof: f.Pprof, Cache: f.Cache, bin: f.bin}
	return errors.Join(errs...)
}
