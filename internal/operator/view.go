package operator

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/activity"
	"github.com/fanmail-dev/fanmail/internal/dispatch"
)

const (
	// askTimeout bounds the wait for dispatchers and for the broker.
	askTimeout = 2 * time.Second
	// askedAtOnce bounds the requests in flight.
	askedAtOnce = 32
	// readTimeout bounds what is read from the database for one answer.
	readTimeout = 10 * time.Second
	// keep is how long an answer is given again.
	keep = time.Second
)

// View answers operators. Create one with [New]. It is safe for concurrent use.
type View struct {
	pool *pgxpool.Pool
	nc   *nats.Conn          // may be nil
	js   jetstream.JetStream // nil as nc

	stats  kept[SystemStats]
	sizes  kept[int64]
	topsMu sync.Mutex
	tops   map[Query]*kept[Top]
}

// New returns a view. nc and js may be nil: then answers have what Postgres knows.
func New(pool *pgxpool.Pool, nc *nats.Conn, js jetstream.JetStream) *View {
	return &View{pool: pool, nc: nc, js: js, tops: map[Query]*kept[Top]{}}
}

// kept is the last answer. Callers that come while it is made wait for it.
type kept[T any] struct {
	mu    sync.Mutex
	at    time.Time
	value *T
}

// get returns the last answer if it is younger than age, or a new one. The making of an answer does not
// end with the caller who began it: others wait for it.
func (k *kept[T]) get(ctx context.Context, age time.Duration, read func(context.Context) (*T, error)) (*T, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.value != nil && time.Since(k.at) < age {
		return k.value, nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readTimeout)
	defer cancel()
	value, err := read(ctx)
	if err != nil {
		return nil, err
	}
	k.value, k.at = value, time.Now()
	return value, nil
}

// asked is what the dispatchers answered.
type asked struct {
	replicas []dispatch.Replica
	owned    []dispatch.Ownership
	answers  []activity.Answer
	silent   []string // names of those that gave no answer
	broker   bool     // there is a connection
}

// ask asks every dispatcher that is alive.
func (v *View) ask(ctx context.Context, q activity.Request) (asked, error) {
	var a asked
	var err error
	if a.replicas, a.owned, err = dispatch.Replicas(ctx, v.pool); err != nil {
		return a, err
	}
	a.broker = v.nc != nil && v.nc.IsConnected()
	body, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answers := make([]*activity.Answer, len(a.replicas))
	g := errgroup.Group{}
	g.SetLimit(askedAtOnce)
	for i := range a.replicas {
		if !a.broker {
			break
		}
		g.Go(func() error {
			m, err := v.nc.RequestWithContext(ctx, events.AskDispatcherPrefix+a.replicas[i].ID, body)
			if err != nil {
				return nil // it is named as silent
			}
			if got, err := activity.DecodeAnswer(m.Data); err == nil && got.ID == a.replicas[i].ID {
				answers[i] = &got
			}
			return nil
		})
	}
	_ = g.Wait()
	for i, got := range answers {
		if got == nil {
			a.silent = append(a.silent, a.replicas[i].Name)
		} else {
			a.answers = append(a.answers, *got)
		}
	}
	slices.Sort(a.silent)
	return a, nil
}
