package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/engine"
	"github.com/fanmail-dev/fanmail/internal/health"
	"github.com/fanmail-dev/fanmail/internal/keyring"
	"github.com/fanmail-dev/fanmail/internal/milter"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

const (
	// beatTimeout bounds one beat.
	beatTimeout = 5 * time.Second
	// beatAgain is the time to the next beat after one that failed.
	beatAgain = time.Second
	// beatStale is the age of the last beat at which the database counts as away: a
	// server that does not answer ends no statement.
	beatStale = 3 * health.BeatEvery
)

// The values of Status of a [readiness].
const (
	readyOK       = "ready"
	readyDegraded = "degraded"  // works, but something needs attention
	readyNot      = "not ready" // can't do its work
)

// edge is the kind of an ingest without a database.
const edge = "edge"

// readiness is what /readyz answers.
type readiness struct {
	Process string `json:"process"`
	Status  string `json:"status"`
	// Reason says why the status is not ready; "" for nothing.
	Reason     string         `json:"reason,omitempty"`
	Components []health.State `json:"components"`
}

// published is a part that publishes to the broker, and its component.
type published struct {
	component  *health.Component
	publishing func() stream.Publishing
}

// condition is what is known of how a process stands.
type condition struct {
	process  string // its kind, such as publisher
	log      *zap.Logger
	registry *health.Registry
	database *health.Component // nil for an edge
	broker   *health.Component // nil before there is a connection, and without a broker
	nc       *nats.Conn        // nil as broker is
	keys     *keyring.Keyring  // nil in a process that opens no secrets
	self     health.Process    // as it was written last

	published []published
	ready     []func() error // each returns nil once a part can do its work
	consuming []func() error // the same of parts that are not needed while the broker fails
}

func newCondition(process string, log *zap.Logger) *condition {
	c := &condition{process: process, log: log, registry: health.NewRegistry()}
	c.self = health.Process{Kind: process, Name: replica(), Version: Version()}
	_, _ = rand.Read(c.self.ID[:])
	if process != edge {
		c.database = c.registry.Component(health.Database, true, beatStale)
	}
	return c
}

// needsBroker says whether a process is of no use while the broker takes nothing. The
// others accept mail and requests, or deliver past the broker.
func (c *condition) needsBroker() bool { return c.process == "publisher" || c.process == edge }

// watchBroker adds the component for the connection to the broker.
func (c *condition) watchBroker(nc *nats.Conn) {
	c.nc, c.broker = nc, c.registry.Component(health.Broker, c.needsBroker(), 0)
}

// watchPart adds the component for what a part of the engine publishes.
func (c *condition) watchPart(part engine.Part) {
	if part.Publishing != nil {
		c.published = append(c.published, published{c.registry.Component(part.Name, c.needsBroker(), 0), part.Publishing})
	}
}

// watchMilters adds a component for each milter, and returns what reports to them. The process is ready while one
// fails: clients are told to try again, which they would not learn from a closed port.
func (c *condition) watchMilters(list []milter.Address) func(milter.Address, error) {
	components := make(map[string]*health.Component)
	for _, a := range list {
		components[a.Name] = c.registry.Component("milter "+a.Name, false, 0)
	}
	return func(a milter.Address, err error) { components[a.Name].Report(err) }
}

// observe brings the components up to date whose state is asked for.
func (c *condition) observe() {
	if c.broker != nil {
		if c.nc.IsConnected() {
			c.broker.Report(nil)
		} else {
			err := stream.ErrAway
			if last := c.nc.LastError(); last != nil {
				err = fmt.Errorf("%w: %w", stream.ErrAway, last)
			}
			c.broker.Report(err)
		}
	}
	for _, part := range c.published {
		part.component.Observe(part.publishing())
	}
}

// readiness returns how the process stands while it works.
func (c *condition) readiness() readiness {
	c.observe()
	r := readiness{Process: c.process, Status: readyOK, Components: c.registry.States()}
	var failing, others []string
	written, past := false, false
	now := time.Now()
	for i := range r.Components {
		s := &r.Components[i]
		written = written || s.Name == health.Database && !s.LastSuccess.IsZero()
		past = past || s.Name != health.Database && s.Name != health.Blobs && s.Status == health.Failing
		switch {
		case s.Status == health.Failing && s.Needed:
			failing = append(failing, s.Line(now))
		case s.Status != health.OK:
			others = append(others, s.Line(now))
		}
	}
	if len(failing) == 0 && !written && c.database != nil {
		failing = append(failing, "nothing was written to the database yet")
	}
	needed := c.ready
	if !past {
		needed = slices.Concat(c.ready, c.consuming)
	}
	for _, ready := range needed {
		if err := ready(); err != nil {
			failing = append(failing, oneLine(err))
		}
	}
	switch {
	case len(failing) > 0:
		r.Status = readyNot
	case len(others) > 0:
		r.Status = readyDegraded
	}
	r.Reason = strings.Join(append(failing, others...), "; ")
	return r
}

// beats writes how the process stands until ctx ends, and then forgets it.
func (c *condition) beats(ctx context.Context, pool *pgxpool.Pool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			c.end(ctx, pool)
			return nil
		case <-timer.C:
		}
		if c.beat(ctx, pool) {
			timer.Reset(health.BeatEvery)
		} else {
			timer.Reset(beatAgain)
		}
	}
}

// end forgets the process, which would otherwise count as gone soon.
func (c *condition) end(ctx context.Context, pool *pgxpool.Pool) {
	bye, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = health.End(bye, pool, c.self.ID)
}

// beat writes once how the process stands. A beat without an answer is no error: all connections may be in
// use. If none succeeds for beatStale, the database counts as away.
func (c *condition) beat(ctx context.Context, pool *pgxpool.Pool) bool {
	beat, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	c.observe()
	c.keys.Refresh()
	c.self.Components, c.self.SecretKeys = c.registry.States(), c.keys.IDs()
	err := health.Beat(beat, pool, &c.self)
	switch {
	case err == nil:
		c.database.Report(nil)
		return true
	case beat.Err() == nil:
		if c.database.Report(err) {
			c.log.Warn("the database takes no writes; trying again", zap.Error(err))
		}
	}
	return false
}

// replica names this process for people.
func replica() string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return host + "-" + strconv.Itoa(os.Getpid())
}
