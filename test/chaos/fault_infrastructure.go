package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// infrastructureFaults are faults of the database, the broker and the connections to them.
func infrastructureFaults() []fault {
	const second = time.Second
	return []fault{
		{"postgres.immediate", "postgres", postgresImmediate(0, second)},
		{"postgres.immediate", "postgres", postgresImmediate(3*second, 6*second)},
		{"postgres.cut", "postgres", cut("postgres", 0, second)},
		{"postgres.slow", "postgres", worsen("postgres", "latency", `{"latency": 1000}`, 5*second, 8*second)},
		{"postgres.partition", "dispatcher-1", worsen("postgres", "timeout", `{"timeout": 0}`, 8*second, 10*second, "dispatcher-1")},
		{"postgres.partition", "publisher-1", worsen("postgres", "timeout", `{"timeout": 0}`, 3*second, 6*second, "publisher-1")},
		{"postgres.failover", "postgres", postgresFailover},
		{postgresFullName, "postgres", postgresFull},
		{postgresClockName, "postgres", postgresClock},
		{"nats.node", "nats", nodeDown(1)},
		{"nats.two nodes", "nats", nodeDown(2)},
		{"nats.leader", "nats", leaderDown},
		{"nats.pause", "nats", nodePaused},
		{"nats.wipe", "nats", wipe},
		{"nats.split", "nats", split("")},
		{"nats.split", "nats", split("timeout")},
		{natsDiskName, "nats", slowDisks},
		{"nats.cut", "nats", cut("nats", 0, 2*second)},
		{"nats.slow", "nats", worsen("nats", "latency", `{"latency": 1000}`, 4*second, 6*second)},
		{"nats.partition", "dispatcher-2", worsen("nats", "timeout", `{"timeout": 0}`, 5*second, 8*second, "dispatcher-2")},
		{"nats.partition", "publisher-2", worsen("nats", "timeout", `{"timeout": 0}`, 3*second, 5*second, "publisher-2")},
	}
}

// cut closes the proxies of a server, and opens them again.
func cut(server string, least, most time.Duration, processes ...string) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		ways := r.links.of(server, processes...)
		for _, l := range ways {
			l.cut()
		}
		last(ctx, between(rnd, least, most))
		return "", mend(ways)
	}
}

// worsen adds a toxic to the proxies of a server, and replaces them by clean ones.
func worsen(server, toxic, attributes string, least, most time.Duration, processes ...string) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		ways := r.links.of(server, processes...)
		var errs []error
		for _, l := range ways {
			errs = append(errs, l.toxic(toxic, attributes))
		}
		last(ctx, between(rnd, least, most))
		return "", errors.Join(append(errs, mend(ways))...)
	}
}

func mend(ways []*link) error {
	var errs []error
	for _, l := range ways {
		errs = append(errs, l.mend())
	}
	return errors.Join(errs...)
}

// nodeDown kills nodes, and starts them again with their data.
func nodeDown(count int) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		var names []string
		for _, i := range rnd.Perm(len(nodes))[:count] {
			names = append(names, nodes[i])
		}
		return r.nodesDown(ctx, names, between(rnd, time.Second, 4*time.Second), nil)
	}
}

// leaderDown kills the node that leads the event stream.
func leaderDown(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	js, err := jetstream.New(r.broker)
	if err != nil {
		return "", err
	}
	leader := ""
	ask, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	err = backoff.Retry(func() error {
		s, err := js.Stream(ask, stream.Events)
		if err != nil {
			return err
		}
		if c := s.CachedInfo().Cluster; c != nil {
			leader = c.Leader
		}
		if leader == "" {
			return errors.New("no leader")
		}
		return nil
	}, backoff.WithContext(backoff.NewConstantBackOff(200*time.Millisecond), ask))
	if err != nil {
		return "no leader to be found: " + err.Error(), nil
	}
	return r.nodesDown(ctx, []string{leader}, between(rnd, 2*time.Second, 5*time.Second), nil)
}

// wipe deletes all of JetStream's data.
func wipe(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	return r.nodesDown(ctx, nodes, between(rnd, 0, time.Second), func() error {
		for _, n := range nodes {
			if err := os.RemoveAll(r.nodeDir(n)); err != nil {
				return fmt.Errorf("remove %s's data: %w", n, err)
			}
		}
		return nil
	})
}

func (r *rig) nodesDown(ctx context.Context, names []string, d time.Duration, while func() error) (string, error) {
	note := strings.Join(names, ", ")
	for _, n := range names {
		r.doom(n).Kill()
	}
	if while != nil {
		if err := while(); err != nil {
			return note, err
		}
	}
	last(ctx, d)
	for _, n := range names {
		if err := r.launch(ctx, r.get(n).Spec); err != nil {
			return note, err
		}
	}
	return note, r.quorum(ctx)
}

// quorum waits until the broker answers for its streams, so that the fault's record spans the whole
// outage. After a wipe there may be no stream yet.
func (r *rig) quorum(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 60*time.Second, errors.New("the broker had no quorum after 60 s"))
	defer cancel()
	js, err := jetstream.New(r.broker)
	if err != nil {
		return err
	}
	return backoff.Retry(func() error {
		ask, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := js.AccountInfo(ask)
		return err
	}, backoff.WithContext(backoff.NewConstantBackOff(100*time.Millisecond), ctx))
}

// nodePaused stops a node with SIGSTOP: the other nodes must go on without it.
func nodePaused(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	n := nodes[rnd.IntN(len(nodes))]
	_, err := pause(n, 3*time.Second, 6*time.Second)(ctx, r, rnd)
	return n, err
}

// split cuts one node off from the two others, but not from its clients. It closes the connections, or
// silences them with a toxic.
func split(toxic string) doing {
	return func(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
		n := nodes[rnd.IntN(len(nodes))]
		ways := append(r.routes.of("", n), r.routes.of(n)...)
		var errs []error
		for _, l := range ways {
			if toxic == "" {
				l.cut()
			} else {
				errs = append(errs, l.toxic(toxic, `{"timeout": 0}`))
			}
		}
		last(ctx, between(rnd, 4*time.Second, 8*time.Second))
		return n, errors.Join(append(errs, mend(ways), r.quorum(ctx))...)
	}
}

// natsDiskName is the fault that needs disks of the rig.
const natsDiskName = "nats.slow disk"

// slowDisks delays every write and flush of two nodes.
func slowDisks(ctx context.Context, r *rig, rnd *rand.Rand) (string, error) {
	slow := rnd.Perm(len(nodes))[:2]
	delay := between(rnd, 100*time.Millisecond, 400*time.Millisecond)
	set := func(delay time.Duration) {
		for _, i := range slow {
			r.disks[filepath.Join(r.dir, nodes[i])].delay.Store(int64(delay))
		}
	}
	set(delay)
	last(ctx, between(rnd, 4*time.Second, 7*time.Second))
	set(0)
	return fmt.Sprintf("%s and %s, %s a write", nodes[slow[0]], nodes[slow[1]], delay.Round(time.Millisecond)), nil
}
