package ingest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// settleAgain is the pause between two tries to read what a transaction in doubt has committed.
const settleAgain = time.Second

// doubt notes that a transaction with the mail may have been committed, though its COMMIT has failed: the answer was lost.
func (m *submission) doubt(err error) {
	var answer *pgconn.PgError
	m.doubtful = m.doubtful || !errors.As(err, &answer)
}

// settle ends the reservations of a mail. If it is in doubt, they count what the database has of it. A mail of which no
// answer came at all keeps its reservations until the database can be read. Thus it counts once, also if the client sends
// it again: it is a duplicate then.
func (s *receiver) settle(ctx context.Context, reserved *claims, m *submission, err error) {
	switch {
	case !m.doubtful && err != nil:
		reserved.settle(nil)
	case !m.doubtful:
		reserved.settle(m.copies)
	case err == nil && s.own(ctx, m) == nil:
		reserved.settle(m.copies)
	default:
		go s.settleLater(reserved, m.light())
	}
}

// own counts the copies that a transaction in doubt has committed as made. A later transaction has counted them as
// duplicates.
func (s *receiver) own(ctx context.Context, m *submission) error {
	ids := make([]events.MessageID, len(m.copies))
	for i := range m.copies {
		ids[i] = m.copies[i].id
	}
	committed, err := mailbox.WithRaw(ctx, s.pool, m.rawID, ids)
	if err != nil {
		return err
	}
	m.made = len(committed)
	for i := range m.copies {
		if c := &m.copies[i]; slices.Contains(committed, c.id) {
			c.made = c.events
		}
	}
	return nil
}

// light returns the submission without its contents.
func (m *submission) light() *submission {
	out := &submission{rawID: m.rawID, copies: make([]copied, len(m.copies))}
	for i := range m.copies {
		c := &m.copies[i]
		out.copies[i] = copied{id: c.id, event: events.Event{TenantID: c.event.TenantID}, events: c.events}
	}
	return out
}

// settleLater is [receiver.settle] once the database can be read. If the server ends before, nothing is counted.
func (s *receiver) settleLater(reserved *claims, m *submission) {
	for {
		err := s.own(s.work, m)
		if err == nil {
			reserved.settle(m.copies)
			return
		}
		s.log.Warn("cannot read whether a mail was committed; it is counted later", zap.Error(err))
		select {
		case <-s.work.Done():
			reserved.settle(nil)
			return
		case <-time.After(settleAgain):
		}
	}
}
