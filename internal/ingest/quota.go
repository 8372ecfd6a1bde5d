package ingest

import (
	"context"
	"errors"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/usage"
)

// errOverQuota is the reply to a mail for which a tenant's quota has no room. A sender learns the quota's name and not its
// limit.
func errOverQuota(over *usage.OverError) *smtp.SMTPError {
	again := "after 00:00 UTC"
	if over.Wait > 0 {
		again = "in a minute"
	}
	return &smtp.SMTPError{
		Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2},
		Message: "The recipient's quota " + over.Quota + " is used up, try again " + again,
	}
}

// room returns the reply to a recipient whose tenant may get no more mail today. size is the mail's by the client's word; 0
// if it gave none.
func (s *receiver) room(ctx context.Context, r recipient, size int64) error {
	err := s.usage.Room(ctx, r.tenant, size)
	if over, ok := errors.AsType[*usage.OverError](err); ok {
		s.m.refuse(refusedQuota)
		s.m.overQuota.WithLabelValues(doorSMTP, over.Quota).Inc()
		return errOverQuota(over)
	}
	return err
}

// claims are the reservations for one mail.
type claims struct {
	size int64
	of   map[events.TenantID]*usage.Reservation
}

// claim reserves what the copies need: an event each, and the mail's bytes once for each tenant. It returns the reply if no
// tenant of them has room. One reply is for all recipients, so a tenant without room gets a mail that another one has room
// for: the recipients of the other must not suffer. RCPT refuses the next mail.
func (s *receiver) claim(ctx context.Context, m *mail, copies []copied) (*claims, error) {
	need := make(map[events.TenantID]usage.Amount, 1)
	for i := range copies {
		t := copies[i].event.TenantID
		need[t] = usage.Amount{Events: need[t].Events + 1, Bytes: m.size}
	}
	c := &claims{size: m.size, of: make(map[events.TenantID]*usage.Reservation, len(need))}
	var over *usage.OverError
	for t, a := range need {
		reserve := s.usage.ReservePaced
		if m.promised { // it can't be told to come back
			reserve = s.usage.Reserve
		}
		r, err := reserve(ctx, t, nil, a)
		if err == nil {
			c.of[t] = r
			continue
		}
		var full bool
		if over, full = errors.AsType[*usage.OverError](err); !full {
			c.settle(nil)
			s.m.refuse(refusedDatabase)
			s.log.Warn("cannot read a tenant's quota", zap.Error(err))
			return nil, errDatabase
		}
		s.m.overQuota.WithLabelValues(m.door(), over.Quota).Inc()
	}
	if len(c.of) == 0 && over != nil && !m.promised {
		s.m.refuse(refusedQuota)
		return nil, errOverQuota(over)
	}
	for t, a := range need {
		if c.of[t] == nil {
			c.of[t] = s.usage.Force(t, a)
		}
	}
	return c, nil
}

// settle counts what was committed of the copies.
func (c *claims) settle(committed []copied) {
	used := make(map[events.TenantID]usage.Amount, len(c.of))
	for i := range committed {
		if n := committed[i].made; n > 0 {
			t := committed[i].event.TenantID
			used[t] = usage.Amount{Events: used[t].Events + int64(n), Bytes: c.size}
		}
	}
	for t, r := range c.of {
		r.Settle(used[t])
	}
}

func (m *mail) door() string {
	if m.promised {
		return doorRaw
	}
	return doorSMTP
}
