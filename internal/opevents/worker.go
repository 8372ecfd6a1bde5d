package opevents

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
)

const (
	// batch is the most events of one transaction.
	batch = 200
	// every is how often the worker polls the table.
	every = time.Second
)

// Options configure a [Worker].
type Options struct {
	// NC carries the hint that the outbox has rows; nil: no hint.
	NC         *nats.Conn
	Log        *zap.Logger           // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Worker inserts recorded facts into the outbox as events. Any number of replicas
// may run it.
type Worker struct {
	pool    *pgxpool.Pool
	nc      *nats.Conn
	log     *zap.Logger
	metrics *metrics
}

// New creates a worker; Run starts it.
func New(pool *pgxpool.Pool, o Options) *Worker {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Worker{pool: pool, nc: o.NC, log: o.Log.Named("opevents"), metrics: newMetrics(o.Registerer)}
}

// Run works until ctx ends. Facts that it has not taken stay in the table.
func (w *Worker) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		n, err := batch, error(nil)
		for n == batch && err == nil {
			n, err = w.Round(ctx)
		}
		if err != nil && ctx.Err() == nil && !failing {
			w.log.Warn("operational events wait in their table: they cannot be inserted into the outbox", zap.Error(err))
		}
		failing = err != nil
	}
}

// Round takes one batch of facts and returns its size, 0 if there is none.
func (w *Worker) Round(ctx context.Context) (int, error) {
	var taken []OperationalEvent
	err := pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		var err error
		if taken, err = take(ctx, tx, batch); err != nil || len(taken) == 0 {
			return err
		}
		evs := make([]events.Event, 0, len(taken))
		var mails []OperationalEvent
		for _, n := range taken {
			if n.mail {
				mails = append(mails, n)
				continue
			}
			ev := events.Event{TenantID: n.TenantID, Type: n.Type, Data: n.Data}
			var bad *events.FieldError
			if err := ev.Validate(); errors.As(err, &bad) {
				// After a rollback there may be a type of the newer release. It must not
				// block the others.
				w.log.Error("an operational event of an unknown type is dropped", zap.String("type", string(n.Type)), zap.Error(err))
				continue
			}
			evs = append(evs, ev)
		}
		inserted, err := outbox.InsertOperational(ctx, tx, evs)
		if err == nil && inserted < len(evs) {
			w.log.Warn("operational events about webhooks that are gone are dropped", zap.Int("events", len(evs)-inserted))
		}
		if err == nil {
			err = addToMails(ctx, tx, mails)
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, n := range taken {
		if n.mail {
			continue
		}
		w.metrics.inserted.WithLabelValues(string(n.Type)).Inc()
	}
	if len(taken) > 0 {
		outbox.Wake(w.nc)
	}
	return len(taken), nil
}
