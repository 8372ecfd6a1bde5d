package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/setting"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/telemetry/export"
	"github.com/fanmail-dev/fanmail/internal/usage"
)

// process is a running Fanmail process: its connections, and the components
// that work on them.
type process struct {
	name     string
	log      *zap.Logger
	registry *prometheus.Registry
	status   *status
	state    *condition
	drain    time.Duration
	streams  stream.Options
	keys     *keyring.Keyring // set by useSecrets
	blobs    *watchedBlobs    // nil without a blob store; set by useBlobs
	traces   *export.Tracing  // nil without traces
	usage    *usage.Counter   // made by counter

	pool *pgxpool.Pool // nil for an edge
	nc   *nats.Conn    // nil if the process needs no broker
	js   jetstream.JetStream

	components []component
	closers    []func() // of what components share, once they have ended
}

// component works until its context ends, drains, and returns nil.
type component struct {
	name string
	run  func(context.Context) error
}

func (p *process) add(name string, run func(context.Context) error) {
	p.components = append(p.components, component{name, run})
}

// addPart adds a part of the engine.
func (p *process) addPart(part engine.Part) {
	p.add(part.Name, part.Run)
	p.state.watchPart(part)
}

// role returns the role of a process for its streams.
func role(name string) stream.Role {
	switch r := stream.Role(name); r {
	case stream.Publisher, stream.Dispatcher, stream.Ingest, stream.API, stream.Edge:
		return r
	case stream.Everything:
	}
	return stream.Everything
}

// margin is what a process waits beyond its components' own deadline. With the
// default of 25 s it still ends before Kubernetes kills it at 30 s.
func margin(drain time.Duration) time.Duration { return max(drain/10, 500*time.Millisecond) }

func newProcess(name string, life Lifecycle, log *zap.Logger) *process {
	p := &process{name: name, log: log, registry: prometheus.NewRegistry(), state: newCondition(name, log), drain: life.drain()}
	p.status = &status{condition: p.state}
	p.registry.MustRegister(p.state.registry, buildInfo(name), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return p
}

// serveStatus serves until stop is called, also while the process waits and while
// it drains.
func (p *process) serveStatus(ctx context.Context, life Lifecycle) (stop func(), err error) {
	if life.HTTPAddr == "" || life.HTTPAddr == off {
		return func() {}, nil
	}
	l, err := listen(ctx, life.HTTPAddr, "--http-addr", "FANMAIL_HTTP_ADDR")
	if err != nil {
		return nil, err
	}
	p.log.Info("health and metrics", zap.String("addr", l.Addr().String()))
	outer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var serving errgroup.Group
	serving.Go(func() error {
		return serveHTTP(outer, l, p.status.handler(p.registry, p.log, life.Pprof), time.Second/2, p.log)
	})
	return func() {
		cancel()
		_ = serving.Wait()
	}, nil
}

// runProcess opens the connections, calls build to add components and runs them
// until ctx ends. It returns nil if ctx ends first, even while it waits.
func runProcess(ctx context.Context, name string, db Database, broker NATS, life Lifecycle, log *zap.Logger, build func(context.Context, *process) error) error {
	setting.FromEnvironment()
	p := newProcess(name, life, log)
	p.streams = broker.streams(role(name))
	p.streams.Log = log
	defer tuneMemory(log)()
	stopStatus, err := p.serveStatus(ctx, life)
	if err != nil {
		return err
	}
	defer stopStatus()
	if p.traces, err = export.Start(ctx, name, Version(), os.Getenv, log); err != nil {
		return err
	}
	defer func() { //nolint:contextcheck // ctx has ended by then
		if err := p.traces.Stop(); err != nil {
			log.Warn("the last traces are lost", zap.Error(err))
		}
	}()
	err = p.live(ctx, db, broker, life, build)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (p *process) live(ctx context.Context, db Database, broker NATS, life Lifecycle, build func(context.Context, *process) error) error {
	starting, started := life.bound(ctx)
	defer started()
	var err error
	if p.name != edge {
		p.status.set("waiting for the database")
		if p.pool, err = connectDatabase(starting, db, p.state, p.traces); err != nil {
			return err
		}
	}
	p.status.set("reaching the broker")
	if p.nc, p.js, err = dialBroker(broker, p.name, p.log); err != nil {
		p.close()
		return err
	}
	p.state.watchBroker(p.nc)
	streams, err := engine.Streams(ctx, p.js, p.streams, p.log)
	if err != nil {
		p.close()
		return err
	}
	p.addPart(streams)
	if err := build(ctx, p); err != nil {
		if p.keys != nil {
			p.state.end(ctx, p.pool)
		}
		p.close()
		return err
	}
	return p.work(ctx)
}

func (p *process) conn() engine.Conn { return engine.Conn{Pool: p.pool, NC: p.nc, JS: p.js} }

// counter counts for all components of the process.
func (p *process) counter() *usage.Counter {
	if p.usage == nil {
		p.usage = usage.New(p.pool, p.log)
		p.closers = append(p.closers, p.usage.Close)
	}
	return p.usage
}

func (p *process) close() {
	for _, c := range p.closers {
		c()
	}
	if p.nc != nil {
		_ = p.nc.FlushTimeout(time.Second)
		p.nc.Close()
	}
	if p.pool != nil {
		p.pool.Close()
	}
}

// work runs the components. When ctx ends or one of them fails, all are told
// to drain; those that take longer than the deadline are left behind and named.
func (p *process) work(ctx context.Context) error {
	if p.pool != nil {
		p.add("health", func(ctx context.Context) error { return p.state.beats(ctx, p.pool) })
	}
	group, ctx := errgroup.WithContext(ctx)
	var mu sync.Mutex
	var left []string
	for _, c := range p.components {
		left = append(left, c.name)
	}
	for _, c := range p.components {
		group.Go(func() error {
			err := c.run(ctx)
			mu.Lock()
			left = slices.DeleteFunc(left, func(n string) bool { return n == c.name })
			mu.Unlock()
			switch {
			case err != nil:
				return fmt.Errorf("%s: %w", c.name, err)
			case ctx.Err() == nil:
				return fmt.Errorf("%s ended by itself", c.name)
			}
			return nil
		})
	}
	p.status.set("")
	p.log.Info("working", zap.String("process", p.name))
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()

	<-ctx.Done()
	p.status.set("draining")
	p.log.Info("draining", zap.Duration("deadline", p.drain))
	deadline := p.drain + margin(p.drain)
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	select {
	case err := <-done:
		p.close()
		return err
	case <-timer.C:
		// The connections stay open: closing the pool would wait for the components.
		mu.Lock()
		defer mu.Unlock()
		late := fmt.Errorf("%s did not drain within %s; what was unfinished is done again after its lease", strings.Join(left, ", "), deadline)
		if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
			return fmt.Errorf("%w; then %w", cause, late)
		}
		return late
	}
}
