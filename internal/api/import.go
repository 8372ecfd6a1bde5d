package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/deploy/migrations"
	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/outbox"
)

// errDryRun rolls a transaction back.
var errDryRun = errors.New("nothing is to be changed")

// ImportTenant imports a tenant's export into an existing tenant, whole or not at all. It reads the file twice: first to
// check it, and its event types, domains, agents and webhooks in a transaction that is rolled back; then to import it in one
// transaction. Every value is checked as the API checks it. A fault in the file is a [*LineError].
//
// The objects keep their ids. What the tenant has already stays as it is, so that an import can be repeated. Webhooks are
// paused. Events go into the log alone: no webhook gets them, unless a replay sends them.
func ImportTenant(ctx context.Context, from io.ReadSeeker, o ImportOptions) (*ImportReport, error) {
	im := &importer{o: o, report: newImportReport()}
	if err := o.Pool.QueryRow(ctx, `SELECT now()`).Scan(&im.now); err != nil {
		return nil, fmt.Errorf("read the time: %w", err)
	}
	var err error
	if im.file, err = readImport(from, o.Tenant, im.now, nil); err != nil {
		return nil, err
	}
	if err := pgx.BeginFunc(ctx, o.Pool, func(tx pgx.Tx) error {
		if err := im.settings(ctx, tx); err != nil {
			return err
		}
		return errDryRun
	}); !errors.Is(err, errDryRun) {
		return nil, err
	}
	if o.DryRun {
		err = im.events(ctx, o.Pool, from, nil)
		return im.report, err
	}
	if im.file.events > 0 {
		if err := migrations.MakePastPartitions(ctx, o.Pool, int(outbox.Retention/(24*time.Hour))+1); err != nil {
			return nil, err
		}
	}
	im.report = newImportReport()
	// The events first: the tenant is locked for the short second part alone.
	err = pgx.BeginFunc(ctx, o.Pool, func(tx pgx.Tx) error {
		if err := im.events(ctx, tx, from, tx); err != nil {
			return err
		}
		return im.settings(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	return im.report, nil
}

// Bounds of a batch of events.
const (
	importBatch      = 500
	importBatchBytes = 4 << 20
)

// events reads the file again and inserts its events; with a nil tx it only looks whether they can be.
func (im *importer) events(ctx context.Context, db pg.DB, from io.ReadSeeker, tx pgx.Tx) error {
	row, mails := im.report.row("events"), im.report.row("messages")
	row.There, mails.There = im.file.events, im.file.messages
	if im.file.events == 0 {
		return nil
	}
	if _, err := from.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read the file again: %w", err)
	}
	oldest := im.now.Add(-outbox.Retention)
	again, err := readImport(from, im.o.Tenant, im.now, func(e *importedEvent) error {
		if im.done++; e.event.CreatedAt.Before(oldest) {
			row.Old++
			if e.mail != nil {
				mails.Old++
			}
			return nil
		}
		im.batch, im.size = append(im.batch, *e), im.size+len(e.event.Envelope)
		if len(im.batch) < importBatch && im.size < importBatchBytes {
			return nil
		}
		return im.write(ctx, db, tx)
	})
	if err == nil && (again.events != im.file.events || again.messages != im.file.messages) {
		err = errors.New("the file has changed while it was read")
	}
	if err != nil {
		return err
	}
	return im.write(ctx, db, tx)
}

// write inserts the events of the batch that are not there.
func (im *importer) write(ctx context.Context, db pg.DB, tx pgx.Tx) error {
	batch := im.batch
	im.batch, im.size = im.batch[:0], 0
	if len(batch) == 0 {
		return nil
	}
	list := make([]outbox.Imported, len(batch))
	for i := range batch {
		list[i] = batch[i].event
	}
	if err := im.checkAgents(ctx, db, batch); err != nil {
		return err
	}
	held, err := outbox.Held(ctx, db, list)
	if err != nil {
		return err
	}
	row, mails := im.report.row("events"), im.report.row("messages")
	var fresh []outbox.Imported
	var messages []mailbox.Message
	for i := range batch {
		same, there := held[batch[i].event.ID]
		switch {
		case there && !same:
			return &LineError{Line: batch[i].line, Err: &events.FieldError{Field: "data.id", Reason: "is the id of another event here"}}
		case there:
			row.Here++
		default:
			row.Added++
			fresh = append(fresh, batch[i].event)
		}
		if batch[i].mail != nil {
			if there {
				mails.Here++
				continue
			}
			mails.Added++
			messages = append(messages, *batch[i].mail)
		}
	}
	if tx != nil {
		if _, err := outbox.Import(ctx, tx, fresh); err != nil {
			return err
		}
		if err := mailbox.ImportMessages(ctx, tx, messages); err != nil {
			return err
		}
	}
	if im.o.Progress != nil {
		im.o.Progress(im.done, im.file.events)
	}
	return nil
}

// checkAgents returns a [*LineError] if an event is about an agent of another tenant. One that nobody has may have been
// deleted.
func (im *importer) checkAgents(ctx context.Context, db pg.DB, batch []importedEvent) error {
	agents, tenants, line := []string{}, []events.TenantID{}, map[string]int{}
	for i := range batch {
		if a := batch[i].event.AgentID; a != "" && line[a] == 0 {
			line[a] = batch[i].line
			agents, tenants = append(agents, a), append(tenants, im.o.Tenant)
		}
	}
	foreign, err := mailbox.ForeignAgents(ctx, db, agents, tenants)
	if err != nil || len(foreign) == 0 {
		return err
	}
	a := foreign[0]
	return &LineError{Line: line[a], Err: &events.FieldError{Field: "data.agent_id", Reason: fmt.Sprintf("%q is an agent of another tenant here", a)}}
}
