package ingest

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailauth"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
)

// accept parses the mail and commits it. An error is the reply to the client: if a recipient may accept the mail when it
// is sent again, it comes although others have the mail now.
func (s *receiver) accept(ctx context.Context, m mail) error {
	p, err := s.parse(ctx, m.raw)
	if err != nil {
		s.m.refuse(refusedStopping)
		return errStopping
	}
	if answer := s.stopLoop(&m, p.header); answer != nil {
		return answer
	}
	if p.whole && m.received != nil {
		p.print = m.received
	}
	s.authenticate(ctx, &m, p)
	m.parsed()
	start := time.Now()
	all := m.to
	later, answer := s.screen(ctx, &m, p)
	if answer != nil {
		return answer
	}
	copies, made, err := s.store(ctx, &m, p)
	if errors.Is(err, errStale) {
		m.to = all
		copies, made, later, err = s.storeAgain(ctx, &m, p)
	}
	if isReply(err) {
		return err
	}
	if err != nil {
		s.m.refuse(refusedDatabase)
		s.log.Warn("cannot commit a mail", zap.Error(err), zap.Int64("bytes", m.size), zap.Int("agents", len(copies)), telemetry.ID(ctx))
		if m.promised && lasting(err) {
			return unstorable(err)
		}
		return errDatabase
	}
	took := time.Since(start)
	telemetry.Observe(ctx, s.m.transaction, took.Seconds())
	s.m.mails.Inc()
	s.m.events.Add(float64(made))
	s.m.duplicates.Add(float64(len(copies) - made))
	if p.problem != "" {
		s.m.parseErrors.Inc()
	}
	s.log.Info("mail accepted", zap.Int64("bytes", m.size), zap.Int("events", made), zap.Int("duplicates", len(copies)-made),
		zap.Stringer("message", copies[0].id), zap.Bool("parsed", p.problem == ""), zap.Duration("took", took), telemetry.ID(ctx))
	return later
}

// storeAgain stores a mail of which a recipient has changed since it was looked up, for the recipients that it has now.
func (s *receiver) storeAgain(ctx context.Context, m *mail, p *parsed) (copies []copied, made int, later, err error) {
	if err = s.lookUpAgain(ctx, m); err != nil {
		return nil, 0, nil, err
	}
	if later, err = s.screen(ctx, m, p); err != nil {
		return nil, 0, nil, err
	}
	copies, made, err = s.store(ctx, m, p)
	return copies, made, later, err
}

// store commits the copies of the mail within the quotas of their tenants. made is how many of them are new. A large raw
// mail goes to the blob store after the reservation, so that a mail above a quota leaves no blob.
func (s *receiver) store(ctx context.Context, m *mail, p *parsed) (copies []copied, made int, err error) {
	copies = s.copies(*m, p)
	reserved, err := s.claim(ctx, m, copies)
	if err != nil {
		return copies, 0, err
	}
	if err = s.putBlob(ctx, m); err != nil {
		reserved.settle(nil)
		return copies, 0, err
	}
	sub := &submission{mail: *m, rawID: events.NewID(), named: p.named, copies: copies}
	err = s.commit(ctx, sub)
	s.settle(ctx, reserved, sub, err)
	if err != nil {
		return copies, 0, err
	}
	return copies, sub.made, nil
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
		id, key := identify(r.tenant, r.key, p)
		ev := events.Event{
			TenantID: r.tenant, Type: events.EmailReceived, AgentID: r.agent,
			ConversationID: p.conversation(r.tenant, id), MessageID: id.String(), IdempotencyKey: key,
		}
		rec := p.received(m)
		rec.MessageID, rec.ConversationID, rec.AgentID = ev.MessageID, ev.ConversationID, ev.AgentID
		rec.Recipient, rec.Tag = mailparse.Text(r.key), mailparse.Text(r.tag)
		rec.Envelope.To = to
		rec.RawURL = s.o.PublicURL + "/v1/messages/" + ev.MessageID + "/raw"
		rec.Attachments = linked(p.attachments, s.o.PublicURL+"/v1/messages/"+ev.MessageID)
		ev.Data = encode(rec)
		out = append(out, copied{id: id, event: ev, senders: r.senders, hooked: r.hooked, data: rec})
	}
	return out
}
