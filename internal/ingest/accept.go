package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/agentwebhook"
	"github.com/fanmail-dev/fanmail/internal/mailauth"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
	"github.com/fanmail-dev/fanmail/outbox"
)

// lookUp returns the agent of an address, and the database's time. It fails with
// errUnknown if no agent has the address.
func (s *receiver) lookUp(ctx context.Context, address string) (recipient, time.Time, error) {
	r := recipient{address: address}
	// No agent has an address that Postgres refuses as text, or an event as an id.
	if len(address) > events.MaxKeyBytes || !utf8.ValidString(address) || strings.IndexByte(address, 0) >= 0 {
		return r, time.Time{}, errUnknown
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lookUpTimeout, errors.New("looking up a recipient took over 10 s"))
	defer cancel()
	agent, now, err := mailbox.FindRoute(ctx, s.pool, address)
	r.agent, r.tenant = agent.Address, agent.TenantID
	if errors.Is(err, pgx.ErrNoRows) {
		return r, now, errUnknown
	}
	return r.addressed(), now, err
}

// accept parses the mail and commits it. An error is the reply to the client.
func (s *receiver) accept(ctx context.Context, m mail) error {
	p, err := s.parse(ctx, m.raw)
	if err != nil {
		s.m.refuse(refusedStopping)
		return errStopping
	}
	if answer := s.stopLoop(&m, p.header); answer != nil {
		return answer
	}
	s.authenticate(ctx, &m, p)
	copies := s.copies(m, p)
	start := time.Now()
	made, err := s.commit(ctx, m.raw, p.named, copies)
	if err != nil {
		s.m.refuse(refusedDatabase)
		s.log.Warn("cannot commit a mail", zap.Error(err), zap.Int("bytes", len(m.raw)), zap.Int("agents", len(copies)), telemetry.ID(ctx))
		return errDatabase
	}
	took := time.Since(start)
	if made > 0 {
		outbox.Wake(s.nc)
	}
	telemetry.Observe(ctx, s.m.transaction, took.Seconds())
	s.m.mails.Inc()
	s.m.events.Add(float64(made))
	s.m.duplicates.Add(float64(len(copies) - made))
	if p.problem != "" {
		s.m.parseErrors.Inc()
	}
	s.log.Info("mail accepted", zap.Int("bytes", len(m.raw)), zap.Int("events", made), zap.Int("duplicates", len(copies)-made),
		zap.Stringer("message", copies[0].id), zap.Bool("parsed", p.problem == ""), zap.Duration("took", took), telemetry.ID(ctx))
	return nil
}

// authenticate fills in the authentication results. It takes Options.AuthTimeout
// at most.
func (s *receiver) authenticate(ctx context.Context, m *mail, p *parsed) {
	m.authentication = unchecked
	if s.checker == nil {
		return
	}
	start := time.Now()
	in := mailauth.Mail{ClientIP: m.client, Helo: m.helo, From: m.from, Raw: m.raw}
	for _, f := range p.header {
		in.Header = append(in.Header, [2]string{f.Name, f.Value})
	}
	for _, a := range p.from {
		in.Authors = append(in.Authors, a.Address)
	}
	m.authentication, m.moreSignatures = s.checker.Check(ctx, in)
	s.m.mailauth(&m.authentication, time.Since(start))
}

// copies returns a copy for each address that an agent takes mail for, in the order of RCPT. Addresses with other tags,
// and those of a whole domain, get copies of their own: each tells its agent something else.
func (s *receiver) copies(m mail, p *parsed) []copied {
	var out []copied
	own := make(map[string][]string, len(m.to))
	for _, r := range m.to {
		own[r.key] = append(own[r.key], mailparse.Text(r.address))
	}
	for _, r := range m.to {
		to, first := own[r.key]
		if !first {
			continue
		}
		delete(own, r.key)
		id, key := identify(r.tenant, r.key, p, m.raw)
		ev := events.Event{
			TenantID: r.tenant, Type: events.EmailReceived, AgentID: r.agent,
			ConversationID: p.conversation(r.tenant, id), MessageID: id.String(), IdempotencyKey: key,
		}
		rec := p.received(m)
		rec.MessageID, rec.ConversationID, rec.AgentID = ev.MessageID, ev.ConversationID, ev.AgentID
		rec.Recipient, rec.Tag = mailparse.Text(r.key), mailparse.Text(r.tag)
		rec.Envelope.To = to
		rec.RawURL = s.o.PublicURL + "/v1/messages/" + ev.MessageID + "/raw"
		rec.Attachments = slices.Clone(p.attachments)
		for i := range rec.Attachments {
			rec.Attachments[i].URL = s.o.PublicURL + "/v1/messages/" + ev.MessageID + "/attachments/" + strconv.Itoa(i)
		}
		ev.Data = encode(rec)
		out = append(out, copied{id, ev, rec})
	}
	return out
}

// commit writes what is new of the copies and the raw mail once, in one
// transaction, and returns how many were new. Agents with a webhook of their own
// get a delivery in the same transaction, and its deliverers a hint. named are the
// Message-IDs that place this mail in a conversation.
func (s *receiver) commit(ctx context.Context, raw []byte, named []string, copies []copied) (int, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, commitTimeout, errors.New("the transaction took over a minute"))
	defer cancel()
	var committed, hooked []mailbox.Message
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		agents, err := place(ctx, tx, named, copies)
		if err != nil {
			return err
		}
		evs := make([]events.Event, len(copies))
		for i := range copies {
			evs[i] = copies[i].event
		}
		done, err := outbox.InsertMany(ctx, tx, evs)
		if err != nil {
			return err
		}
		var at time.Time
		var reports []events.Event
		for i, d := range done {
			if !d.New {
				continue
			}
			if ev, ok := copies[i].reported(); ok {
				reports = append(reports, ev)
			}
			at = d.CreatedAt // the transaction's time, the same for all
			m := mailbox.Message{ID: copies[i].id, TenantID: evs[i].TenantID, AgentID: evs[i].AgentID, EventID: d.ID}
			committed = append(committed, m)
			if a, ok := agents.Of(m.TenantID, m.AgentID); ok && a.WebhookURL != nil {
				hooked = append(hooked, m)
			}
		}
		if len(committed) == 0 {
			return nil
		}
		if _, err := outbox.InsertMany(ctx, tx, reports); err != nil {
			return err
		}
		b := &pgx.Batch{}
		mailbox.QueueMessages(b, at, raw, committed)
		agentwebhook.QueueDeliver(b, at, hooked)
		if err := tx.SendBatch(ctx, b).Close(); err != nil {
			return fmt.Errorf("insert the raw mail and its messages: %w", err)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	for _, m := range hooked {
		agentwebhook.Wake(s.nc, m.AgentID)
	}
	return len(committed), nil
}

// place moves each copy into the conversation in which its tenant knows the mail, or
// a mail that it names. The same round trip reads the agents of the copies.
func place(ctx context.Context, tx pgx.Tx, named []string, copies []copied) (mailbox.Agents, error) {
	tenants, addresses := make([]events.TenantID, len(copies)), make([]string, len(copies))
	for i, c := range copies {
		tenants[i], addresses[i] = c.event.TenantID, c.event.AgentID
	}
	b := &pgx.Batch{}
	agents := make(mailbox.Agents, len(copies))
	chosen := make(map[events.TenantID]mailbox.ConversationKey, 1)
	mailbox.QueueConversation(b, named, tenants, chosen)
	mailbox.QueueAgents(b, addresses, agents)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("find the mail's conversation and agents: %w", err)
	}
	for i := range copies {
		if conversation, ok := chosen[copies[i].event.TenantID]; ok {
			copies[i].move(conversation.String())
		}
	}
	return agents, nil
}
