package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// MaintenanceOptions configure maintenance. The zero value is usable.
type MaintenanceOptions struct {
	// Every is the time between rounds. Defaults to 5 minutes.
	Every time.Duration
	// Retention are the rules that each round applies.
	Retention []retention.Rule
	// Also is called in each round, under the same lock; nil: nothing.
	Also       func(context.Context) error
	Log        *zap.Logger
	Registerer prometheus.Registerer // nil: no metrics
}

// Maintenance makes the table partitions of the coming days, finds webhooks that fail,
// disables those whose deliveries only fail, and applies the retention rules, which drop old
// partitions and delete what has expired. Any number of replicas may run it: an
// advisory lock lets one work at a time.
type Maintenance struct {
	pool     *pgxpool.Pool
	o        MaintenanceOptions
	log      *zap.Logger
	expired  prometheus.Counter
	dropped  prometheus.Counter
	disabled prometheus.Counter
	failing  prometheus.Counter
	done     prometheus.Gauge
}

// NewMaintenance returns maintenance of the pool's database; Run starts it.
func NewMaintenance(pool *pgxpool.Pool, o MaintenanceOptions) *Maintenance {
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Every <= 0 {
		o.Every = 5 * time.Minute
	}
	f := promauto.With(o.Registerer)
	return &Maintenance{
		pool: pool, o: o, log: o.Log.Named("maintenance"),
		expired: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_maintenance_expired_deliveries_total", Help: "Deliveries that were still pending when their retention ended, and became failed.",
		}),
		dropped: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_maintenance_dropped_partitions_total", Help: "Day partitions dropped.",
		}),
		disabled: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_maintenance_disabled_webhooks_total", Help: "Webhooks disabled because their deliveries failed and none succeeded.",
		}),
		failing: f.NewCounter(prometheus.CounterOpts{
			Name: "fanmail_maintenance_failing_webhooks_total", Help: "Webhooks found to be failing: a delivery has failed for an hour, and none has succeeded.",
		}),
		done: f.NewGauge(prometheus.GaugeOpts{
			Name: "fanmail_maintenance_last_success_timestamp_seconds", Help: "When this replica last finished a round without an error; 0 before the first.",
		}),
	}
}

// Run does a round at once and then every [MaintenanceOptions.Every], until ctx
// ends. It logs the errors of rounds and returns nil.
func (m *Maintenance) Run(ctx context.Context) error {
	tick := time.NewTicker(m.o.Every)
	defer tick.Stop()
	for {
		if err := m.Round(ctx); err != nil && ctx.Err() == nil {
			m.log.Warn("a round of maintenance failed", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Round does all of it once. It does nothing while another replica does a round.
func (m *Maintenance) Round(ctx context.Context) error { return m.alone(ctx, m.locked) }

// Disable is the part of a round that disables failing webhooks and applies the
// retention rules. It makes no partitions.
func (m *Maintenance) Disable(ctx context.Context) error {
	return m.alone(ctx, func(ctx context.Context) error { return errors.Join(m.disable(ctx), m.retain(ctx)) })
}

// alone calls do under the lock, unless another replica holds it.
func (m *Maintenance) alone(ctx context.Context, do func(context.Context) error) error {
	// The lock ends with its transaction, which does nothing else and so holds back no VACUUM. With a connection pooler, a
	// lock of the session may stay with another one.
	return pgx.BeginFunc(ctx, m.pool, func(lock pgx.Tx) error {
		var first bool
		err := lock.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended('fanmail.maintenance', 0))
			AND set_config('idle_in_transaction_session_timeout', '0', true) IS NOT NULL`).Scan(&first)
		if err != nil {
			return fmt.Errorf("maintenance: take the lock: %w", err)
		}
		if !first {
			return nil
		}
		return do(ctx)
	})
}

// locked does a round. The caller holds the lock.
func (m *Maintenance) locked(ctx context.Context) error {
	if err := migrations.MakePartitions(ctx, m.pool); err != nil {
		return err
	}
	// The parts do not depend on each other, so an error in one does not stop the rest.
	err := errors.Join(m.disable(ctx), m.markFailing(ctx), m.retain(ctx))
	if m.o.Also != nil {
		err = errors.Join(err, m.o.Also(ctx))
	}
	if err == nil {
		m.done.SetToCurrentTime()
	}
	return err
}

func (m *Maintenance) disable(ctx context.Context) error {
	var list []subscribers.Disabled
	err := pgx.BeginFunc(ctx, m.pool, func(tx pgx.Tx) error {
		var err error
		list, err = subscribers.DisableFailing(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	m.disabled.Add(float64(len(list)))
	for _, w := range list {
		m.log.Warn("webhook disabled", zap.Stringer("webhook", w.ID), zap.Stringer("tenant", w.TenantID), zap.String("reason", w.Reason))
	}
	return nil
}

func (m *Maintenance) markFailing(ctx context.Context) error {
	var list []subscribers.Failing
	err := pgx.BeginFunc(ctx, m.pool, func(tx pgx.Tx) error {
		var err error
		list, err = subscribers.MarkFailing(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	m.failing.Add(float64(len(list)))
	for _, w := range list {
		m.log.Warn("webhook fails", zap.Stringer("webhook", w.ID), zap.Stringer("tenant", w.TenantID), zap.Time("since", w.Since), zap.Int("status_code", w.StatusCode))
	}
	return nil
}

func (m *Maintenance) retain(ctx context.Context) error {
	r, err := retention.Run(ctx, m.pool, m.o.Retention)
	expired := r.Rows[subscribers.ExpirePending] + r.Rows[subscribers.ExpireOfTenants]
	m.expired.Add(float64(expired))
	m.dropped.Add(float64(r.Dropped))
	if r.Dropped > 0 || expired > 0 {
		m.log.Info("retention", zap.Int("dropped_partitions", r.Dropped), zap.Int64("expired_deliveries", expired))
	}
	return err
}
