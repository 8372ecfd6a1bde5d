package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
	"github.com/fanmail-dev/fanmail/test/process"
)

// River is the peer. It inserts a job for each matching endpoint in the event's own transaction; a
// worker signs the event and POSTs it with one shared client (see [workRiver]). It has no retry
// schedule, no fairness, and no history but River's own.
type River struct {
	workers   int // of its queue
	pg        *postgres
	client    *river.Client[pgx.Tx] // inserts only
	endpoints map[Target][]string   // their ids
	processes []*process.Process
}

// Name is "river", with the number of workers where it is not the usual one.
func (r *River) Name() string {
	if r.workers == riverWorkers {
		return riverName
	}
	return fmt.Sprintf("%s-%d", riverName, r.workers)
}

const riverName = "river"

// riverNames returns the names of River with each number of workers, the usual one first.
func riverNames() []string {
	var out []string
	for _, n := range riverWorkerCounts {
		out = append(out, (&River{workers: n}).Name())
	}
	return out
}

// riverSchema is the peer's own part of the database.
const riverSchema = `
	CREATE TABLE endpoints (id uuid PRIMARY KEY, url text NOT NULL, secret text NOT NULL);
	CREATE TABLE events (id uuid PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT now(), tenant text NOT NULL,
		agent text NOT NULL, envelope bytea NOT NULL)`

// Start implements [System].
func (r *River) Start(ctx context.Context, dir string, w *Workload) (err error) {
	if w.State != (State{}) || w.Dispatchers > 1 || w.Nodes > 1 {
		return fmt.Errorf("%s is for Fanmail: %w", w.Name, errors.ErrUnsupported)
	}
	r.endpoints = map[Target][]string{}
	if r.pg, err = startPostgres(ctx, dir); err != nil {
		return err
	}
	driver := riverpgxv5.New(r.pg.pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: quiet})
	if err == nil {
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
	}
	if err == nil {
		_, err = r.pg.pool.Exec(ctx, riverSchema)
	}
	if err != nil {
		return fmt.Errorf("make the schema: %w", err)
	}
	if r.client, err = river.NewClient(driver, &river.Config{Logger: quiet, FetchCooldown: fetchCooldown, FetchPollInterval: fetchPoll}); err != nil {
		return fmt.Errorf("make the client: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("start the worker: %w", err)
	}
	ready, err := process.FreeAddr()
	if err != nil {
		return err
	}
	worker, err := process.Start(ctx, process.Spec{
		Name: "worker", Bin: self, Args: []string{riverCommand}, Logs: dir, Ready: ready,
		Env: append(w.Names.env(), riverDatabase+"="+r.pg.url(), riverReady+"="+ready, riverWorkersEnv+"="+strconv.Itoa(r.workers)),
	})
	if err != nil {
		return err
	}
	r.processes = append(r.processes, worker)
	return nil
}

// Subscribe implements [System].
func (r *River) Subscribe(ctx context.Context, endpoints []Endpoint) error {
	batch := &pgx.Batch{}
	for i := range endpoints {
		e := &endpoints[i]
		id := events.NewRandom[events.WebhookKind]()
		batch.Queue(`INSERT INTO endpoints (id, url, secret) VALUES ($1, $2, $3)`, id, e.URL, signature.NewSecret())
		r.endpoints[e.Target] = append(r.endpoints[e.Target], id.String())
	}
	if err := r.pg.pool.SendBatch(ctx, batch).Close(); err != nil {
		return fmt.Errorf("make the endpoints: %w", err)
	}
	return nil
}

// Accept implements [System].
func (r *River) Accept(ctx context.Context, evs []Event) ([]string, error) {
	ids := make([]string, len(evs))
	var (
		jobs            []river.InsertManyParams
		keys            = make([]events.ID, len(evs))
		tenants, agents = make([]string, len(evs)), make([]string, len(evs))
		envelopes       = make([][]byte, len(evs))
	)
	for i, ev := range evs {
		id := events.NewID()
		envelope, err := json.Marshal(map[string]any{
			"type": "email.received", "id": id.String(), "created_at": time.Now().UTC(), "schema_version": 1, "data": ev.Data,
		})
		if err != nil {
			return nil, fmt.Errorf("encode the envelope: %w", err)
		}
		ids[i], keys[i], tenants[i], agents[i], envelopes[i] = id.String(), id, ev.Tenant, ev.Agent, envelope
		for _, endpoint := range r.endpoints[ev.Target] {
			jobs = append(jobs, river.InsertManyParams{Args: post{Event: ids[i], Endpoint: endpoint, Envelope: envelope}})
		}
	}
	err := pgx.BeginFunc(ctx, r.pg.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `INSERT INTO events (id, tenant, agent, envelope) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[])`,
			keys, tenants, agents, envelopes)
		if err != nil {
			return err
		}
		// COPY takes more round trips than INSERT.
		if len(jobs) < 5 {
			_, err = r.client.InsertManyTx(ctx, tx, jobs)
		} else {
			_, err = r.client.InsertManyFastTx(ctx, tx, jobs)
		}
		return err
	})
	return ids, err
}

// Settle implements [System].
func (r *River) Settle(ctx context.Context) error {
	return r.pg.settle(ctx, `SELECT EXISTS (SELECT FROM river_job WHERE state IN ('available', 'running', 'retryable', 'scheduled', 'pending'))`)
}

// Hasten implements [System]. River's first retry comes after a second anyway.
func (*River) Hasten(context.Context) error { return nil }

// DropDay implements [System].
func (*River) DropDay(context.Context) error { return errors.ErrUnsupported }

// Usage implements [System].
func (r *River) Usage(ctx context.Context) (Usage, error) {
	u := Usage{CPU: map[string]float64{}, Written: map[string]float64{}}
	err := r.pg.usage(ctx, &u)
	for _, p := range r.processes {
		if err == nil {
			u.CPU[p.Name], err = cpuOf(strconv.Itoa(p.PID()))
		}
	}
	return u, err
}

// Memory implements [System].
func (r *River) Memory() (map[string]float64, error) { return memoryOf(r.pg, r.processes) }

// Debug implements [System]. We do not profile the peer.
func (*River) Debug() map[string]string { return nil }

// Stop implements [System].
func (r *River) Stop(ctx context.Context) error {
	var errs []error
	for _, p := range r.processes {
		errs = append(errs, p.Stop(ctx))
	}
	r.pg.stop()
	*r = River{workers: r.workers}
	return errors.Join(errs...)
}
