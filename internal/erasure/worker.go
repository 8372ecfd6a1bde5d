package erasure

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/blobs"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/retention"
)

// every is how often a worker looks for what is due.
const every = 5 * time.Second

// Options configure a [Worker].
type Options struct {
	// Rows: the worker removes rows, for which the role of its pool must own the tables.
	Rows bool
	// Outside: it removes messages of the streams, and blobs.
	Outside bool
	// JS is the broker; nil: there is none, and nothing to remove from it.
	JS jetstream.JetStream
	// Blobs is the blob store; nil: there is none.
	Blobs blobs.Store
	// Tables are how all rows of a tenant are deleted, in an order in which no row is referred to by one that is left. nil:
	// the worker leaves tenants to others.
	Tables []pg.TenantRows
	// Settle is the time between the passes. Defaults to [Settle].
	Settle     time.Duration
	Log        *zap.Logger           // nil: silent
	Registerer prometheus.Registerer // nil: no metrics
}

// Worker does what erasures ask for. Any number of processes may run one.
type Worker struct {
	outside
	rows, outer   bool
	tables        []pg.TenantRows
	log           *zap.Logger
	waiting, late prometheus.Gauge
}

// New creates a worker; Run starts it.
func New(pool *pgxpool.Pool, o Options) *Worker {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	w := &Worker{
		outside: outside{pool: pool, js: o.JS, blobs: o.Blobs, settle: cmp.Or(o.Settle, Settle)},
		rows:    o.Rows, outer: o.Outside, tables: o.Tables, log: o.Log.Named("erasure"),
	}
	f := promauto.With(o.Registerer)
	w.waiting = f.NewGauge(prometheus.GaugeOpts{Name: "fanmail_erasures_unfinished", Help: "Erasures that have not ended, as this replica last saw them."})
	w.late = f.NewGauge(prometheus.GaugeOpts{Name: "fanmail_erasures_oldest_seconds", Help: "How long the oldest of them has been under way, after a deleted tenant's grace period; 0 if none is."})
	return w
}

// Run works until ctx ends. It logs what fails, tries again, and returns nil.
func (w *Worker) Run(ctx context.Context) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := w.Round(ctx); err != nil && ctx.Err() == nil {
			w.log.Warn("an erasure waits: a step of it failed, and is tried again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Round does all that is due, and returns what failed.
func (w *Worker) Round(ctx context.Context) error {
	var failed []error
	for _, step := range []struct {
		is bool
		do func(context.Context) (bool, error)
	}{{w.rows, w.batch}, {w.outer, w.leave}} {
		for more := step.is; more; {
			var err error
			if more, err = step.do(ctx); err != nil {
				failed = append(failed, err)
			}
		}
	}
	return errors.Join(append(failed, w.measure(ctx))...)
}

// batch removes the rows of one batch, and reports whether there was one to do.
func (w *Worker) batch(ctx context.Context) (did bool, err error) {
	var e *work
	err = pgx.BeginFunc(ctx, w.pool, func(tx pgx.Tx) error {
		// Of two batches that remove the last messages of a raw mail, each would leave it to the other.
		var first bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended('fanmail.erasure', 0))`).Scan(&first); err != nil {
			return fmt.Errorf("erase rows: take the lock: %w", err)
		}
		if !first {
			return nil
		}
		var err error
		if e, err = claim(ctx, tx, w.tables != nil, phaseRows, phaseLate, phaseHits, phaseItems); err != nil || e == nil {
			return err
		}
		e.tables = w.tables
		if err := e.rows(ctx, tx, w.settle); err != nil {
			return err
		}
		return e.save(ctx, tx)
	})
	switch {
	case e == nil:
		return false, err
	case err != nil:
		return true, errors.Join(fmt.Errorf("erasure %s: %w", e.id, err), postpone(ctx, w.pool, e.id))
	case e.phase == phaseDone:
		w.log.Info("an erasure has ended", zap.Stringer("erasure", e.id), zap.Stringer("tenant", e.tenant), zap.String("kind", string(e.kind)), zap.Any("removed", e.removed))
	}
	return true, nil
}

// measure sets the metrics. It reads the index of what has not ended.
func (w *Worker) measure(ctx context.Context) error {
	var n, age float64
	err := w.pool.QueryRow(ctx, `SELECT count(*)::float8, greatest(coalesce(extract(epoch FROM clock_timestamp() - min(coalesce(begins_at, requested_at))), 0), 0)::float8
		FROM fanmail.erasures WHERE finished_at IS NULL`).Scan(&n, &age)
	if err != nil {
		return fmt.Errorf("count erasures: %w", err)
	}
	w.waiting.Set(n)
	w.late.Set(age)
	return nil
}

// RetentionRules forget the erasures that ended long ago.
func RetentionRules() []retention.Rule {
	return []retention.Rule{retention.Rows("forget erasures that have ended",
		`DELETE FROM fanmail.erasures WHERE id = ANY (ARRAY(SELECT id FROM fanmail.erasures WHERE finished_at < now() - make_interval(secs => $1) LIMIT 1000))`, Retention.Seconds())}
}
