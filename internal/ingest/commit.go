package ingest

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// commit writes what is new of the copies and the raw mail once, in one transaction,
// and sets how many were new. The transaction may have the mails of other sessions
// too. Agents with a webhook of their own get a delivery in the same transaction, and
// its deliverers a hint. It returns errStale if an agent has gone.
func (s *receiver) commit(ctx context.Context, m *submission) error {
	m.ctx = ctx
	if m.blob != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, m.blobEnd, errLate)
		defer cancel()
		m.ctx, m.rawID = ctx, m.blob.ID()
	}
	for i := range m.copies {
		if err := m.copies[i].prepare(); err != nil {
			return err
		}
	}
	grouped := m.size <= groupedMail && len(m.copies) <= groupCopies && m.names() <= groupedNames
	if grouped {
		s.group.add(m)
		if !m.alone {
			return m.err
		}
	}
	err := s.commitAlone(ctx, m)
	if !grouped && lost(err) {
		err = s.commitAlone(ctx, m)
	}
	if err != nil {
		return err
	}
	return m.err
}

// lost reports whether the connection failed, so that it is not known whether the transaction was committed. If it is
// repeated with the same events, those that were committed are not new.
func lost(err error) bool {
	var answer *pgconn.PgError
	return err != nil && !errors.As(err, &answer) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// lasting reports whether a mail can never be committed, whatever the state of the database: its event is invalid, or
// Postgres refuses its data or its size.
func lasting(err error) bool {
	if _, invalid := errors.AsType[*events.FieldError](err); invalid {
		return true
	}
	return refusedData(err) != nil
}

// refusedData is Postgres's answer that it takes some data never, so that a retry is of no use; nil for other errors.
func refusedData(err error) *pgconn.PgError {
	// Class 22 is "data exception", 54 "program limit exceeded".
	answer, answered := errors.AsType[*pgconn.PgError](err)
	if answered && (strings.HasPrefix(answer.Code, "22") || strings.HasPrefix(answer.Code, "54")) {
		return answer
	}
	return nil
}

// commitAlone commits the mail in a transaction of its own, which waits for others. Some of the pool's connections are
// kept for groups, whatever such transactions wait for.
func (s *receiver) commitAlone(ctx context.Context, m *submission) error {
	if err := s.alone.Acquire(ctx, 1); err != nil {
		return err
	}
	defer s.alone.Release(1)
	m.alone, m.made, m.err = false, 0, nil
	return s.transact(ctx, []*submission{m}, true)
}

// commitGroup is [receiver.transact] for the mails of a group.
func (s *receiver) commitGroup(mails []*submission) error {
	if len(mails) == 1 {
		return s.transact(mails[0].ctx, mails, false)
	}
	return s.transact(s.work, mails, false)
}

// transact commits the mails in one transaction, in that order, and sets their results. If wait is false, a mail that
// would have to wait for a transaction of others is left out, and marked.
func (s *receiver) transact(ctx context.Context, mails []*submission, wait bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commitTimeout, errors.New("the transaction took over a minute"))
	defer cancel()
	for len(mails) > 0 {
		sound, err := s.try(ctx, mails, wait)
		if err != nil {
			return err
		}
		if len(sound) == len(mails) {
			break
		}
		mails = sound
	}
	if slices.ContainsFunc(mails, func(m *submission) bool { return m.made > 0 }) {
		s.waker.Wake()
	}
	for _, m := range mails {
		for _, agent := range m.hooked {
			agentwebhook.Wake(s.nc, agent)
		}
	}
	return nil
}

// try commits the mails in a transaction of two round trips, or of one if that is possible. Where some cannot be
// inserted now, it sets their results, commits nothing and returns the others.
func (s *receiver) try(ctx context.Context, mails []*submission, wait bool) (sound []*submission, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	defer rollBack(ctx, conn.Conn())
	t := &transaction{conn: conn.Conn(), mails: mails, agents: make(mailbox.Agents)}
	if len(mails) == 1 && !wait && mails[0].expressible() {
		if done, err := t.express(ctx); done || err != nil {
			return mails, err
		}
	}
	if sound, err = t.begin(ctx, wait); err != nil || len(sound) < len(mails) {
		return sound, err
	}
	return sound, t.commit(ctx)
}

// rollBack ends a transaction that may be open. If it fails, the pool closes the connection.
func rollBack(ctx context.Context, conn *pgx.Conn) {
	if conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookUpTimeout)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback")
}
