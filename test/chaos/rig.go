package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/fanmail-dev/fanmail/internal/devserver"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/test/chaos/history"
	"github.com/fanmail-dev/fanmail/test/process"
)

// The processes and the broker's nodes.
var (
	processes = []string{"api", "ingest", edge, "publisher-1", "publisher-2", "dispatcher-1", "dispatcher-2"}
	nodes     = []string{"nats-1", "nats-2", "nats-3"}
)

// edge is the ingest without a database. It starts after the one that makes its stream and fills its bucket.
const edge = "edge"

// rig is the whole system, and the means to break it.
type rig struct {
	dir      string
	say      func(format string, args ...any)
	history  *history.File
	began    time.Time
	receiver *receiver
	postgres *devserver.Postgres
	database devserver.PostgresOptions // of the server in use
	way      *link                     // from the rig to the database
	pool     *pgxpool.Pool             // through that link
	disks    disks                     // of the database and the nodes, by directory; empty if this machine can mount none
	clock    *clock                    // of the database; nil if this machine cannot step one
	routes   links                     // from each node to each other node
	broker   *nats.Conn                // the rig's own connection
	links    links
	smtp     string
	edge     string // the SMTP address of the edge
	api      string
	env      []string // more variables for every process

	attackedKey string // of the tenant that attackers send to

	mu      sync.Mutex // guards what follows
	running map[string]*process.Process
	doomed  map[*process.Process]bool // ended by the rig
	strange []string                  // failures that no promise covers, such as a process that exited by itself
}

// now is the run's clock in Unix microseconds. It does not step.
func (r *rig) now() int64 { return r.began.Add(time.Since(r.began)).UnixMicro() }

// newRig builds and starts everything. The caller closes it, also after an error.
func newRig(ctx context.Context, dir string, patches []patch, say func(string, ...any), env ...string) (*rig, error) {
	r := &rig{dir: dir, say: say, began: time.Now(), env: env, links: links{}, running: map[string]*process.Process{}, doomed: map[*process.Process]bool{}}
	var err error
	if r.history, err = history.Create(filepath.Join(dir, "history.jsonl")); err != nil {
		return r, err
	}
	say("building")
	if err := build(ctx, filepath.Join(dir, "overlay"), filepath.Join(dir, "bin"), patches); err != nil {
		return r, err
	}
	if err := os.Mkdir(filepath.Join(dir, "logs"), 0o700); err != nil {
		return r, fmt.Errorf("create the directory of logs: %w", err)
	}
	say("starting Postgres, three NATS nodes and seven processes")
	if r.receiver, err = startReceiver(ctx, r.history, r.now); err != nil {
		return r, fmt.Errorf("start the receiver: %w", err)
	}
	if err := r.startDatabase(ctx); err != nil {
		return r, err
	}
	if err := r.startNodes(ctx); err != nil {
		return r, err
	}
	return r, r.startProcesses(ctx)
}

// startDatabase starts Postgres, with a disk and a clock of its own if this machine can provide them.
func (r *rig) startDatabase(ctx context.Context) error {
	r.disks = disks{}
	for _, name := range append([]string{databaseDir}, nodes...) {
		path := filepath.Join(r.dir, name)
		d, err := newDisk(path)
		if err != nil {
			r.say("leaving out full and slow disks: %v", err)
			break
		}
		r.disks[path] = d
	}
	var err error
	if r.clock, err = newClock(r.dir); err != nil {
		r.say("leaving out clock steps: %v", err)
	} else {
		r.database.Env = r.clock.env()
	}
	// A copy or a crashed server would first flush thousands of files one by one. This machine does
	// not crash.
	r.database.Settings = map[string]string{"recovery_init_sync_method": "syncfs"}
	r.database.Dir = filepath.Join(r.dir, databaseDir, "1")
	if r.postgres, err = devserver.StartPostgres(ctx, r.database); err != nil {
		return err
	}
	r.database.Port = r.postgres.Port
	if r.way, err = newLink("rig to postgres", r.databaseAddr()); err != nil {
		return err
	}
	if r.pool, err = pgxpool.New(ctx, "postgres://fanmail@"+r.way.addr()+"/postgres?sslmode=disable"); err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	return nil
}

// databaseDir is the directory of the database's disk, below the rig's directory.
const databaseDir = "database"

func (r *rig) databaseAddr() string { return "127.0.0.1:" + strconv.Itoa(r.database.Port) }

// startNodes starts the broker's nodes, connects to them, and opens the processes' proxies.
func (r *rig) startNodes(ctx context.Context) error {
	clients, routes := map[string]string{}, map[string]string{}
	for _, n := range nodes {
		client, err := process.FreeAddr()
		if err != nil {
			return err
		}
		route, err := process.FreeAddr()
		if err != nil {
			return err
		}
		clients[n], routes[n] = client, route
	}
	r.routes = links{}
	for _, n := range nodes {
		r.routes[n] = map[string]*link{}
		for _, other := range nodes {
			if other == n {
				continue
			}
			l, err := newLink(n+" to "+other, routes[other])
			if err != nil {
				return err
			}
			r.routes[n][other] = l
		}
	}
	var urls []string
	for _, n := range nodes {
		if err := r.startNode(ctx, n, clients[n], routes[n]); err != nil {
			return fmt.Errorf("start %s: %w", n, err)
		}
		urls = append(urls, "nats://"+clients[n])
	}
	var err error
	if r.broker, err = nats.Connect(strings.Join(urls, ","), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {})); err != nil {
		return fmt.Errorf("connect to the broker: %w", err)
	}
	return r.openLinks(clients)
}

// startNode starts a node that listens at two addresses, for clients and for the other nodes.
func (r *rig) startNode(ctx context.Context, name, client, route string) error {
	_, port, err := net.SplitHostPort(client)
	if err != nil {
		return err
	}
	_, clusterPort, err := net.SplitHostPort(route)
	if err != nil {
		return err
	}
	var others []string
	for _, l := range r.routes[name] {
		others = append(others, l.addr())
	}
	return r.launch(ctx, process.Spec{
		Name: name, Bin: filepath.Join(r.dir, "bin", "natsnode"), Logs: filepath.Join(r.dir, "logs"), Ready: client,
		Args: []string{"-name", name, "-dir", r.nodeDir(name), "-port", port, "-cluster-port", clusterPort, "-routes", strings.Join(others, ",")},
	})
}

// openLinks opens the proxies of every process, to the nodes at their clients' addresses and to the database.
func (r *rig) openLinks(clients map[string]string) error {
	for _, p := range processes {
		ways := map[string]*link{}
		r.links[p] = ways
		var err error
		for _, n := range nodes {
			if ways[n], err = newLink(p+" to "+n, clients[n]); err != nil {
				return err
			}
		}
		if ways["postgres"], err = newLink(p+" to postgres", r.databaseAddr()); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) nodeDir(node string) string { return filepath.Join(r.dir, node, "data") }

func (r *rig) startProcesses(ctx context.Context) error {
	var err error
	if r.smtp, err = process.FreeAddr(); err != nil {
		return err
	}
	if r.edge, err = process.FreeAddr(); err != nil {
		return err
	}
	if r.api, err = process.FreeAddr(); err != nil {
		return err
	}
	for _, p := range processes {
		spec, err := r.spec(p)
		if err != nil {
			return err
		}
		if p == "api" { // the first process migrates, and is killed during that three times
			if err := r.dieAmidMigration(ctx, spec); err != nil {
				return err
			}
			for _, at := range []faults.Point{faults.MigrateBegun, faults.MigrateApplied} {
				if err := r.dieMigrating(ctx, spec, at); err != nil {
					return err
				}
			}
		}
		if err := r.launch(ctx, spec); err != nil {
			return err
		}
	}
	return nil
}

func (r *rig) spec(p string) (process.Spec, error) {
	health, err := process.FreeAddr()
	if err != nil {
		return process.Spec{}, err
	}
	var broker []string
	for _, n := range nodes {
		broker = append(broker, "nats://"+r.links[p][n].addr())
	}
	name, _, _ := strings.Cut(p, "-")
	env := slices.Clone(r.env)
	if p == "ingest" || p == "api" {
		env = append(env, "GOMEMLIMIT="+strconv.Itoa(doorMemory), "FANMAIL_MAX_BUFFERED_BYTES="+strconv.Itoa(doorBuffered))
	}
	smtp := r.smtp
	if p == edge {
		name, smtp = "ingest", r.edge
		env = append(env, "FANMAIL_PUBLISH=true", "FANMAIL_NODE="+edge)
	} else {
		env = append(env, "FANMAIL_DATABASE_URL=postgres://fanmail@"+r.links[p]["postgres"].addr()+"/postgres?sslmode=disable", "FANMAIL_MIGRATE=true")
	}
	return process.Spec{
		Name: p, Bin: filepath.Join(r.dir, "bin", name), Logs: filepath.Join(r.dir, "logs"), Ready: "http://" + health + "/readyz",
		Env: append(env,
			"FANMAIL_NATS_URL="+strings.Join(broker, ","), "FANMAIL_STREAM_REPLICAS=3",
			"FANMAIL_ALLOW_HTTP=true", "FANMAIL_ALLOW_NETWORKS=127.0.0.0/8", "FANMAIL_DISPATCHER_NAME="+p,
			"FANMAIL_MAIL_AUTH=false", // it needs DNS
			"FANMAIL_SMTP_ADDR="+smtp, "FANMAIL_API_ADDR="+r.api, "FANMAIL_HTTP_ADDR="+health),
	}, nil
}

// dieMigrating starts a process that kills itself during its migration.
func (r *rig) dieMigrating(ctx context.Context, s process.Spec, at faults.Point) error {
	start := r.now()
	s.Ready = ""
	s.Env = append(slices.Clone(s.Env), faults.Variable+"="+string(at))
	p, err := process.Start(ctx, s)
	if err != nil {
		return err
	}
	select {
	case <-p.Exited():
	case <-time.After(30 * time.Second):
		p.Kill()
		return fmt.Errorf("%s did not reach %s", s.Name, at)
	}
	r.fault("crash."+string(at), s.Name, start, "")
	return nil
}

// dieAmidMigration kills a process while the SQL of its migration runs.
func (r *rig) dieAmidMigration(ctx context.Context, s process.Spec) error {
	start := r.now()
	if _, err := r.pool.Exec(ctx, `
		CREATE FUNCTION dawdle() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
			IF EXISTS (SELECT 1 FROM pg_event_trigger_ddl_commands() WHERE object_identity = 'fanmail.webhooks') THEN PERFORM pg_sleep(3); END IF;
		END $$;
		CREATE EVENT TRIGGER dawdle ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION dawdle()`); err != nil {
		return fmt.Errorf("slow the migration down: %w", err)
	}
	s.Ready = ""
	p, err := process.Start(ctx, s)
	if err != nil {
		return err
	}
	wait, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("its migration did not reach the table of webhooks"))
	defer cancel()
	err = backoff.Retry(func() error {
		var amid bool
		if err := r.pool.QueryRow(wait, `SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep')`).Scan(&amid); err != nil || !amid {
			return errors.Join(err, context.Cause(wait), errors.New("not yet"))
		}
		return nil
	}, backoff.WithContext(backoff.NewConstantBackOff(20*time.Millisecond), wait))
	p.Kill()
	if err != nil {
		return err
	}
	if _, err := r.pool.Exec(ctx, `DROP EVENT TRIGGER dawdle; DROP FUNCTION dawdle()`); err != nil {
		return fmt.Errorf("resume the migration: %w", err)
	}
	r.fault("crash.migrate.amid", s.Name, start, "")
	return nil
}

// launch starts a process and watches it. If it exits though the rig did not end it, that is recorded
// in strange.
func (r *rig) launch(ctx context.Context, s process.Spec) error { return r.start(ctx, s, false) }

func (r *rig) start(ctx context.Context, s process.Spec, doomed bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 90*time.Second, errors.New("not ready within 90 s"))
	defer cancel()
	p, err := process.Start(ctx, s)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.running[s.Name], r.doomed[p] = p, doomed
	r.mu.Unlock()
	go func() { // ends with the process; close waits for that
		<-p.Exited()
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.doomed[p] {
			r.strange = append(r.strange, fmt.Sprintf("%s exited by itself; the end of its output:\n%s", s.Name, p.Tail(5)))
		}
	}()
	return nil
}

// get returns the latest process of that name.
func (r *rig) get(name string) *process.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.running[name]
}

// doom is get for a caller that will end the process.
func (r *rig) doom(name string) *process.Process {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.running[name]
	r.doomed[p] = true
	return p
}

// fault records a fault that is over.
func (r *rig) fault(name, party string, start int64, note string) {
	f := &history.Fault{Name: name, Party: party, Start: start, End: r.now(), Note: note}
	r.history.Append(history.Record{Kind: history.KindFault, Fault: f})
	r.say("%s at %s, %.1f s %s", name, party, float64(f.End-f.Start)/1e6, note)
}

// stop stops every process in order, which must succeed, and disconnects from the broker.
func (r *rig) stop(ctx context.Context) {
	for _, name := range processes {
		ctx, cancel := context.WithTimeoutCause(ctx, 40*time.Second, errors.New("it had not stopped after 40 s"))
		if err := r.doom(name).Stop(ctx); err != nil {
			r.mu.Lock()
			r.strange = append(r.strange, err.Error())
			r.mu.Unlock()
		}
		cancel()
	}
}

// close ends everything that still runs.
func (r *rig) close() error {
	for name := range r.running {
		r.doom(name).Kill()
	}
	if r.receiver != nil {
		r.receiver.close()
	}
	ways := append(r.links.of(""), r.routes.of("")...)
	if r.way != nil {
		ways = append(ways, r.way)
	}
	for _, l := range ways {
		l.cut()
	}
	if r.broker != nil {
		r.broker.Close()
	}
	if r.pool != nil {
		r.pool.Close()
	}
	if r.postgres != nil {
		r.postgres.Stop()
	}
	err := r.disks.remove()
	if r.history == nil {
		return err
	}
	return errors.Join(err, r.history.Close())
}
