package ingest

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// lookUp returns the agent of an address, and the database's time. It fails with errUnknown if no agent has the address,
// and with errSuspended if the agent takes no mail; see [takesNone].
func (s *receiver) lookUp(ctx context.Context, address string) (recipient, time.Time, error) {
	lower := mailbox.Fold(address)
	now := time.Now()
	if r, ahead, ok := s.recipients.get(lower, now); ok {
		r.address = address
		return r.addressed(), now.Add(ahead), nil
	}
	r := recipient{address: address}
	// No agent has an address that Postgres refuses as text, or an event as an id.
	if len(address) > events.MaxKeyBytes || len(lower) > events.MaxKeyBytes || !utf8.ValidString(address) || strings.IndexByte(address, 0) >= 0 {
		return r, now, errUnknown
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lookUpTimeout, errors.New("looking up a recipient took over 10 s"))
	defer cancel()
	agent, theirs, err := mailbox.FindRoute(ctx, s.pool, address)
	if errors.Is(err, pgx.ErrNoRows) && s.o.Postmaster != "" && mailbox.HasRole(address) {
		agent, theirs, err = mailbox.FindPostmaster(ctx, s.pool, address, mailbox.Postmaster{Agent: s.o.Postmaster, Host: s.o.Domain})
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return r, now, errUnknown
	}
	if err != nil {
		return r, now, err
	}
	if agent.Suspended {
		return r, now, errSuspended
	}
	r.agent, r.tenant, r.senders, r.hooked = agent.Address, agent.TenantID, agent.Senders, agent.WebhookURL != nil
	r = r.addressed()
	// Only while an agent has the address itself is there no agent that would come before it.
	if r.agent == lower && len(r.senders.Allow)+len(r.senders.Deny) <= rememberedSenders {
		s.recipients.add(lower, r, now, time.Until(theirs))
	}
	return r, theirs, nil
}

// takesNone reports whether an address was looked up and nobody takes mail to it.
func takesNone(err error) bool { return errors.Is(err, errUnknown) || errors.Is(err, errSuspended) }

// lookUpAgain looks up the recipients of a mail of which one has changed since RCPT. The mail is refused if one is
// unknown now: for good if it is the only one, otherwise for now, because the reply is for all. The client then learns
// of it at RCPT.
func (s *receiver) lookUpAgain(ctx context.Context, m *mail) error {
	for i := range m.to {
		s.recipients.forget(mailbox.Fold(m.to[i].address))
		r, _, err := s.lookUp(ctx, m.to[i].address)
		switch {
		case takesNone(err) && len(m.to) == 1:
			s.m.refuse(refusedRecipient)
			return err
		case takesNone(err):
			s.m.refuse(refusedRecipient)
			return errChanged
		case err != nil:
			s.m.refuse(refusedDatabase)
			return errDatabase
		}
		m.to[i] = r
	}
	return nil
}
