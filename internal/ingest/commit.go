package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/outbox"
)

// errStale says that a recipient is no longer the agent's that it was at RCPT.
var errStale = errors.New("a recipient has changed since it was looked up")

// commit writes what is new of the copies and the raw mail once, in one transaction,
// and returns how many were new. The transaction may have the mails of other sessions
// too. Agents with a webhook of their own get a delivery in the same transaction, and
// its deliverers a hint. named are the Message-IDs that place this mail in a
// conversation. It returns errStale if an agent has gone.
func (s *receiver) commit(ctx context.Context, raw []byte, named []string, copies []copied) (int, error) {
	m := &submission{ctx: ctx, raw: raw, named: named, copies: copies}
	for i := range copies {
		if err := copies[i].prepare(); err != nil {
			return 0, err
		}
	}
	m.alone = len(raw) > groupedMail || len(copies) > groupCopies || m.names() > groupedNames
	if !m.alone {
		s.group.add(m)
	}
	if m.alone {
		if err := s.commitAlone(ctx, m); err != nil {
			return 0, err
		}
	}
	return m.made, m.err
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
	p := placement{agents: make(mailbox.Agents)}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		sound, err := p.place(ctx, tx, mails, wait)
		if err != nil || len(sound) == 0 {
			return err
		}
		done, err := insert(ctx, tx, prepared(sound))
		if err != nil {
			return err
		}
		stored, at := p.stored(sound, done)
		b := &pgx.Batch{}
		p.conversations.QueueNote(b)
		if len(stored) > 0 {
			mailbox.QueueMails(b, at, stored)
			agentwebhook.QueueDeliver(b, at, p.hooked)
		}
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("insert raw mails and their messages: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if slices.ContainsFunc(mails, func(m *submission) bool { return m.made > 0 }) {
		outbox.Wake(s.nc)
	}
	for _, m := range p.hooked {
		agentwebhook.Wake(s.nc, m.AgentID)
	}
	return nil
}

// prepared returns the events of mails: of each copy its own, then that about a report.
func prepared(mails []*submission) (evs []outbox.Prepared) {
	for _, m := range mails {
		for i := range m.copies {
			for _, ev := range m.copies[i].prepared {
				if len(mails) > 1 {
					ev = ev.Traced(m.ctx)
				}
				evs = append(evs, ev)
			}
		}
	}
	return evs
}

func insert(ctx context.Context, tx pgx.Tx, evs []outbox.Prepared) (done []outbox.Inserted, err error) {
	for some := range slices.Chunk(evs, outbox.MaxInsert) {
		inserted, err := outbox.InsertPrepared(ctx, tx, some)
		if err != nil {
			return nil, err
		}
		done = append(done, inserted...)
	}
	return done, nil
}

// placement is what a transaction finds out about its mails.
type placement struct {
	agents        mailbox.Agents
	conversations mailbox.Conversations
	hooked        []mailbox.Message // new ones of agents that have a webhook
}

// stored returns the new messages of mails whose events were inserted, and the transaction's time. It sets the results.
func (p *placement) stored(mails []*submission, done []outbox.Inserted) (stored []mailbox.Mail, at time.Time) {
	i := 0
	for _, m := range mails {
		mail := mailbox.Mail{Raw: m.raw}
		for c := range m.copies {
			ev, d := &m.copies[c].event, done[i]
			i += len(m.copies[c].prepared)
			if !d.New {
				continue
			}
			at = d.CreatedAt
			one := mailbox.Message{ID: m.copies[c].id, TenantID: ev.TenantID, AgentID: ev.AgentID, EventID: d.ID}
			mail.Messages = append(mail.Messages, one)
			if a, ok := p.agents.Of(ev.TenantID, ev.AgentID); ok && a.WebhookURL != nil {
				p.hooked = append(p.hooked, one)
			}
		}
		if m.made = len(mail.Messages); m.made > 0 {
			stored = append(stored, mail)
		}
	}
	return stored, at
}

// place moves each copy into the conversation in which its tenant knows the mail, or
// a mail that it names. It returns the mails that can be inserted now. The same round
// trip reads the agents of the copies.
func (p *placement) place(ctx context.Context, tx pgx.Tx, mails []*submission, wait bool) ([]*submission, error) {
	var tenants []events.TenantID
	var addresses []string
	for _, m := range mails {
		for i := range m.copies {
			ev := &m.copies[i].event
			addresses = append(addresses, ev.AgentID)
			if !slices.Contains(tenants, ev.TenantID) {
				tenants = append(tenants, ev.TenantID)
			}
			p.conversations.Add(ev.TenantID, m.named)
		}
	}
	b := &pgx.Batch{}
	busy := make(map[events.TenantID]bool)
	p.conversations.QueueLock(b, wait)
	if !wait {
		outbox.QueueTryLock(b, tenants, busy)
	}
	mailbox.QueueAgents(b, addresses, p.agents)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("find the conversations and agents of mails: %w", err)
	}
	var sound []*submission
	for _, m := range mails {
		if p.ready(m, busy) && p.move(m) {
			sound = append(sound, m)
		}
	}
	return sound, nil
}

// ready reports whether the mail can be inserted now, and sets its result if it cannot.
func (p *placement) ready(m *submission, busy map[events.TenantID]bool) bool {
	for i := range m.copies {
		ev := &m.copies[i].event
		if _, ok := p.agents.Of(ev.TenantID, ev.AgentID); !ok {
			m.err = errStale
			return false
		}
		if busy[ev.TenantID] || p.conversations.Busy(ev.TenantID, m.named) {
			m.alone = true
		}
	}
	return !m.alone
}

func (p *placement) move(m *submission) bool {
	for i := range m.copies {
		c := &m.copies[i]
		conversation, ok := p.conversations.Place(c.event.TenantID, m.named)
		if !ok {
			continue
		}
		if m.err = c.move(conversation.String()); m.err != nil {
			return false
		}
	}
	return true
}
