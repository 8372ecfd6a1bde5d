package engine

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/internal/dispatch"
	"github.com/fanmail-dev/fanmail/internal/retention"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// roundReplayRate lifts the bound on a replay's pace: in a round nothing else
// waits for the same endpoints.
const roundReplayRate = 1 << 20

// Round does the work of all parts once, without a broker, and returns when all
// that was due is recorded. Work that follows from work, such as an operational
// event about a failed delivery, is done too.
func Round(ctx context.Context, pool *pgxpool.Pool, o Options) error {
	o.ReplayRate, o.Registerer = roundReplayRate, nil
	d, err := NewDispatcher(ctx, Conn{Pool: pool}, o)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Load(ctx); err != nil {
		return err
	}
	for first := true; ; first = false {
		moved, err := d.prepare(ctx)
		if err != nil {
			return err
		}
		if !moved && !first {
			break
		}
		if err := d.dispatch.Round(ctx); err != nil {
			return err
		}
		if err := d.agents.Round(ctx); err != nil {
			return err
		}
	}
	if d.maintain == nil {
		return nil
	}
	return errors.Join(d.maintain.Round(ctx), d.erasure.Round(ctx))
}

// RoundDeliveries attempts every delivery to a webhook that is due, once, and returns when the outcomes are recorded. It
// fans out nothing.
func RoundDeliveries(ctx context.Context, pool *pgxpool.Pool, o Options) error {
	o.Registerer = nil
	d, err := NewDispatcher(ctx, Conn{Pool: pool}, o)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Load(ctx); err != nil {
		return err
	}
	return d.dispatch.Round(ctx)
}

// RoundAgents does the same for the deliveries to the agents' own webhooks.
func RoundAgents(ctx context.Context, pool *pgxpool.Pool, o Options) error {
	o.Registerer = nil
	d := Agents(pool, nil, o)
	defer d.Close()
	return d.Round(ctx)
}

// RoundAutoDisable disables the webhooks whose deliveries only fail, and deletes the previous signing secrets whose time
// is over.
func RoundAutoDisable(ctx context.Context, pool *pgxpool.Pool, o Options) error {
	return dispatch.NewMaintenance(pool, dispatch.MaintenanceOptions{Retention: []retention.Rule{subscribers.ForgetRotated()}, Log: o.Log}).Disable(ctx)
}

// prepare makes deliveries of what waits, and reports whether there was any.
func (d *Dispatcher) prepare(ctx context.Context) (moved bool, err error) {
	for {
		n, err := d.opevents.Round(ctx)
		if err != nil {
			return moved, err
		}
		if n == 0 {
			break
		}
		moved = true
	}
	n, err := d.fanout.Round(ctx)
	if err != nil {
		return moved, err
	}
	replayed, err := d.replay.Round(ctx)
	return moved || n > 0 || replayed, err
}
