package importe2a

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/e2aenvelope"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// Options configure an import.
type Options struct {
	// Pool is Fanmail's database, as the role that owns the tables.
	Pool *pgxpool.Pool
	// Store seals the webhooks' secrets.
	Store *subscribers.Store
	// Registry finds the webhooks of events that are too large for the broker.
	Registry *subscribers.Registry
	// Limits say which URLs may be used; others are imported with a note.
	Limits subscribers.Limits
	// Follow says that e2a runs: what it will still send stays with it until a pass without Follow.
	Follow bool
	// Envelope is the envelope that the webhooks get until EnvelopeUntil: [subscribers.EnvelopeV04], or "" for Fanmail's.
	// A later pass does not change it.
	Envelope      string
	EnvelopeUntil time.Time
	// AcceptProblems imports although the report has problems.
	AcceptProblems bool
	// Progress is called after each page; it must not be nil.
	Progress func(what string, done, total int64)
}

// ErrProblems means that the report has problems, and that nothing was imported.
var ErrProblems = errors.New("the report has problems")

// pass is one pass over e2a's tables, or a check.
type pass struct {
	o        Options
	src      *Source
	tx       pgx.Tx // of e2a
	check    bool   // write nothing
	report   *Report
	state    *state
	accounts accounts
	since    time.Time // what was created before is past its retention
}

// Import makes one pass. found is called with the report on the accounts before anything is written. It returns
// [ErrProblems] if there are problems that are not accepted. The report holds what was done up to an error.
func Import(ctx context.Context, src *Source, o Options, found func(*Report)) (*Report, error) {
	p := &pass{o: o, src: src, report: &Report{Release: src.release()}}
	err := src.snapshot(ctx, func(tx pgx.Tx) error {
		p.tx = tx
		if err := p.prepare(ctx); err != nil {
			return err
		}
		if found(p.report); len(p.report.problems) > 0 && !o.AcceptProblems {
			return ErrProblems
		}
		// One day more than is kept: rows of that day may be younger than the retention.
		if err := migrations.MakePastPartitions(ctx, o.Pool, int(outbox.Retention/(24*time.Hour))+1); err != nil {
			return err
		}
		return p.run(ctx)
	})
	p.report.finish()
	return p.report, err
}

// Check reads all of e2a and compares it with what is here. It writes nothing.
func Check(ctx context.Context, src *Source, o Options) (*Report, error) {
	p := &pass{o: o, src: src, check: true, report: &Report{Release: src.release()}}
	err := src.snapshot(ctx, func(tx pgx.Tx) error {
		p.tx = tx
		if err := p.prepare(ctx); err != nil {
			return err
		}
		return p.run(ctx)
	})
	p.report.finish()
	return p.report, err
}

// prepare reads the accounts and checks them.
func (p *pass) prepare(ctx context.Context) error {
	if err := p.o.Pool.QueryRow(ctx, `SELECT now()`).Scan(&p.since); err != nil {
		return fmt.Errorf("read the time: %w", err)
	}
	p.state = &state{now: p.since}
	p.since = p.since.Add(-outbox.Retention)
	if err := p.readAccounts(ctx); err != nil {
		return err
	}
	if p.accounts.source.IsZero() {
		p.accounts.source = derived[events.TenantKind]("users", "none yet")
	}
	var err error
	if p.state, err = loadState(ctx, p.o.Pool, p.accounts.source, !p.check); err != nil {
		return err
	}
	if err := p.checkForeign(ctx); err != nil {
		return err
	}
	if err := p.noteRunning(ctx); err != nil {
		return err
	}
	p.report.finish()
	return nil
}

// runningWithin is how long ago e2a's last attempt makes a note.
const runningWithin = 2 * time.Minute

// noteRunning warns if e2a seems to run and would send what is imported as pending.
func (p *pass) noteRunning(ctx context.Context) error {
	if p.o.Follow || p.check || !p.src.has["webhook_subscriber_deliveries.last_attempt_at"] {
		return nil
	}
	var ago *float64
	err := p.tx.QueryRow(ctx, `SELECT extract(epoch FROM clock_timestamp() - max(last_attempt_at))::float8 FROM `+p.src.from("webhook_subscriber_deliveries", "d")).Scan(&ago)
	if err != nil {
		return fmt.Errorf("look whether e2a runs: %w", err)
	}
	if ago != nil && *ago < runningWithin.Seconds() {
		p.report.note(fmt.Sprintf("e2a made an attempt %.0f s ago. If it still runs (%%d sign of it), stop it first or use --follow: both would send what is pending", *ago))
	}
	return nil
}

// run takes all steps.
func (p *pass) run(ctx context.Context) error {
	for _, step := range []func(context.Context) error{p.writeAccounts, p.importEvents, p.importMessages, p.importDeliveries, p.importAgentDeliveries} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if p.check {
		return nil
	}
	return p.state.finish(ctx, p.o.Pool)
}

func (p *pass) progress(what string, done, total int64) { p.o.Progress(what, done, total) }

// from is where a step begins: all before it was taken and has ended. A check begins with the retention.
func (p *pass) from(step string) time.Time {
	if at := p.state.at[step]; !p.check && at.Add(-overlap).After(p.since) {
		return at.Add(-overlap)
	}
	return p.since
}

// placed is the creation time here of something that waits, and that was created before the retention: the beginning of
// the import.
func (p *pass) placed(createdAt time.Time) time.Time {
	if createdAt.Before(p.since) {
		return p.state.started
	}
	return createdAt
}

// count counts the rows of a query.
func (p *pass) count(ctx context.Context, query string) (n int64, err error) {
	if err = p.tx.QueryRow(ctx, `SELECT count(*) FROM (`+query+`) AS q`).Scan(&n); err != nil {
		return 0, fmt.Errorf("count rows of e2a: %w", err)
	}
	return n, nil
}

// undated counts the rows of a kind without a time, which no step reads: they can't be placed within the last 30 days. Those
// that wait are read, and stop the import. rows is a FROM clause with d for the table, and ends with a condition.
func (p *pass) undated(ctx context.Context, kind, table, rows string) error {
	n, err := p.count(ctx, `SELECT 1`+rows+` AND d.created_at IS NULL`)
	if err != nil || n == 0 {
		return err
	}
	count := p.report.row(kind)
	count.There += n
	count.Out += n
	p.report.noteRows("%d "+kind+" are left out: their created_at is NULL; see SELECT * FROM "+table+" WHERE created_at IS NULL", n)
	return nil
}

// page writes a page in a transaction of its own, with the position of its step; a check writes nothing.
func (p *pass) page(ctx context.Context, at *position, write func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, p.o.Pool, func(tx pgx.Tx) error {
		if err := write(tx); err != nil {
			return err
		}
		return at.store(ctx, tx, p.state.source)
	})
}

// DefaultEnvelope is the envelope that receivers of e2a's webhooks read now, by its newest events: v0.4 if one of them has
// it, and "" for Fanmail's.
func DefaultEnvelope(ctx context.Context, src *Source) (string, error) {
	var old bool
	err := src.snapshot(ctx, func(tx pgx.Tx) error {
		query := `SELECT coalesce((SELECT bool_or(old) FROM (SELECT envelope ? 'event' AS old FROM ` + src.from("webhook_events", "e") + ` ORDER BY created_at DESC LIMIT 100) AS n),
			(SELECT bool_or(old) FROM (SELECT event_payload ? 'event' AS old FROM ` + src.from("webhook_subscriber_deliveries", "d") + ` ORDER BY created_at DESC LIMIT 100) AS n), false)`
		return tx.QueryRow(ctx, query).Scan(&old)
	})
	if err != nil {
		return "", fmt.Errorf("look at e2a's newest envelope: %w", err)
	}
	if old {
		return e2aenvelope.Version, nil
	}
	return "", nil
}
