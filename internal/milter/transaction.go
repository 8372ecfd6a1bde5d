package milter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/d--j/go-milter"

	"github.com/fanmail-dev/fanmail/events/email"
)

// chunkBytes is how much of a body is sent at once: the most that all milters take.
const chunkBytes = 65535

// trusted is the field whose content agents may rely on, so nobody but a milter may add it.
const trusted = "Authentication-Results"

// Transaction asks the milters about one mail. It is not safe for concurrent use.
type Transaction struct {
	chain     *Chain
	macros    *milter.MacroBag
	asked     []*asked
	discarded bool
}

// asked is a milter in a transaction.
type asked struct {
	Address

	s    *session // nil once there is nothing more to ask
	told email.Milter
	took time.Duration
	err  error // why it failed, if the mail must not pass without it
}

// Begin asks the milters about the client and the sender. It returns a [*Refusal] or a [*Failure] if the mail is to be
// refused. The caller closes the transaction.
func (c *Chain) Begin(ctx context.Context, by Client) (*Transaction, error) {
	t := &Transaction{chain: c, macros: c.macros(by)}
	for _, l := range c.list {
		t.asked = append(t.asked, &asked{Address: l, told: email.Milter{Name: l.Name, Action: email.MilterAccept, Headers: [][2]string{}}})
	}
	for _, a := range t.asked {
		if t.discarded {
			break
		}
		end := time.Now().Add(c.o.CommandTimeout)
		s, err := c.open(ctx, a.Address, t.macros, end)
		if err == nil {
			a.s = s
			err = t.step(ctx, a, c.o.CommandTimeout, end, func() (*milter.Action, error) { return greet(s, by) })
		} else {
			err = t.failed(a, c.o.CommandTimeout, err)
		}
		if err != nil {
			t.Close(ctx)
			return nil, err
		}
	}
	return t, nil
}

// greet tells a milter of the client and the sender.
func greet(s *session, by Client) (*milter.Action, error) {
	host, family, port, addr := "unknown", milter.FamilyUnknown, uint16(0), ""
	if by.Addr.IsValid() {
		ip := by.Addr.Addr().Unmap().WithZone("")
		addr, port = ip.String(), by.Addr.Port()
		host, family = "["+addr+"]", milter.FamilyInet
		if ip.Is6() {
			family = milter.FamilyInet6
		}
	}
	if act, err := s.Conn(host, family, port, addr); err != nil || act.Type != milter.ActionContinue {
		return act, err
	}
	if act, err := s.Helo(text(by.Helo)); err != nil || act.Type != milter.ActionContinue {
		return act, err
	}
	return s.Mail(text(by.From), "")
}

// Recipient asks the milters about a recipient. It returns a [*Refusal] or a [*Failure] if the recipient is to be
// refused; the mail may have others.
func (t *Transaction) Recipient(ctx context.Context, address string) error {
	t.macros.Set(milter.MacroRcptAddr, text(address))
	for _, a := range t.asked {
		if a.err != nil {
			return a.err
		}
		if a.s == nil || t.discarded {
			continue
		}
		end := time.Now().Add(t.chain.o.CommandTimeout)
		if err := t.step(ctx, a, t.chain.o.CommandTimeout, end, func() (*milter.Action, error) {
			return a.s.Rcpt(text(address), "")
		}); err != nil {
			return err
		}
	}
	return nil
}

// Result is what became of a mail that is not refused.
type Result struct {
	// Discarded means that a milter wants the mail dropped and the client told that it is accepted.
	Discarded bool
	// Changed means that a milter changed the mail.
	Changed bool
	// Milters are what they said, in order.
	Milters []email.Milter
}

// Content asks the milters about the mail, and changes it as they say. A new body goes to a store of its own, which
// store creates. It returns a [*Refusal] or a [*Failure] if the mail is to be refused. The mail is of no use after an
// error.
func (t *Transaction) Content(ctx context.Context, m *Mail, store func() Store) (Result, error) {
	r := Result{Changed: m.distrust(trusted)}
	end := time.Now().Add(t.chain.o.ContentTimeout)
	for _, a := range t.asked {
		if a.err != nil {
			return r, a.err
		}
		if a.s != nil && !t.discarded {
			c := &changes{store: store}
			if err := t.content(ctx, a, m, c, end); err != nil {
				return r, err
			}
			r.Changed = r.Changed || c.made(&a.told)
		}
		r.Milters = append(r.Milters, a.told)
	}
	r.Discarded = t.discarded
	return r, nil
}

// content asks one milter about the mail.
func (t *Transaction) content(ctx context.Context, a *asked, m *Mail, c *changes, end time.Time) error {
	err := t.step(ctx, a, t.chain.o.ContentTimeout, end, func() (*milter.Action, error) {
		act, err := send(a.s, m, c)
		if err != nil {
			return nil, err
		}
		return act, c.check(a.s.ProtocolOption(milter.OptHeaderLeadingSpace))
	})
	if err != nil || a.s == nil { // nil: it failed and the mail may pass without it, or the mail is discarded
		c.drop()
		return err
	}
	c.apply(m, &a.told)
	d := Accepted
	if a.told.Action == email.MilterQuarantine {
		d = Quarantined
	}
	t.decided(ctx, a, d)
	return nil
}

// step does something with a milter until end, which is limit from the start, and obeys its answer.
func (t *Transaction) step(ctx context.Context, a *asked, limit time.Duration, end time.Time, f func() (*milter.Action, error)) error {
	began := time.Now()
	free := a.s.conn.limit(ctx, end)
	act, err := f()
	free()
	a.took += time.Since(began)
	if err != nil {
		return t.failed(a, limit, err)
	}
	t.chain.o.report(a.Address, nil)
	if r := refusal(a.Name, act); r != nil {
		d := Rejected
		if r.Code/100 == 4 {
			d = Deferred
		}
		t.chain.o.Observe(a.Name, d, a.took)
		return r
	}
	switch act.Type {
	case milter.ActionDiscard:
		t.discarded = true
		t.decided(ctx, a, Discarded)
	case milter.ActionAccept:
		if a.s.content {
			break // its changes come first
		}
		t.decided(ctx, a, Accepted)
	}
	return nil
}

// decided ends what a milter is asked.
func (t *Transaction) decided(ctx context.Context, a *asked, d Decision) {
	t.chain.o.Observe(a.Name, d, a.took)
	a.s.close(ctx)
	a.s = nil
}

// failed notes that a milter failed. It returns nil if the mail may pass without it.
func (t *Transaction) failed(a *asked, limit time.Duration, err error) error {
	if a.s != nil {
		_ = a.s.conn.Close()
		a.s = nil
	}
	f := failure(a.Address, limit, err)
	t.chain.o.report(a.Address, f)
	t.chain.o.Failed(f)
	t.chain.o.Observe(a.Name, Failed, a.took)
	if a.AcceptOnFailure {
		a.told.Action = email.MilterUnavailable
		return nil
	}
	a.err = f
	return f
}

// Close ends what is open. It may be called again.
func (t *Transaction) Close(ctx context.Context) {
	for _, a := range t.asked {
		if a.s != nil {
			a.s.close(ctx)
			a.s = nil
		}
	}
}

// send sends the mail, and returns the decision. The changes that come with it go to c.
func send(s *session, m *Mail, c *changes) (*milter.Action, error) {
	s.content = true
	if act, err := s.DataStart(); err != nil || act.Type != milter.ActionContinue {
		return act, err
	}
	asIs := s.ProtocolOption(milter.OptHeaderLeadingSpace)
	for _, f := range m.fields {
		if f.name == "" || s.Skip() {
			continue
		}
		v := f.value()
		if !asIs {
			v = strings.TrimPrefix(v, " ")
		}
		if act, err := s.HeaderField(f.name, text(v), nil); err != nil || act.Type != milter.ActionContinue {
			return act, err
		}
	}
	if act, err := s.HeaderEnd(); err != nil || act.Type != milter.ActionContinue {
		return act, err
	}
	if act, err := sendBody(s, m.body); err != nil || act.Type != milter.ActionContinue {
		return act, err
	}
	s.conn.body = c
	list, act, err := s.End()
	c.list = list
	return act, err
}

// sendBody sends the body in chunks.
func sendBody(s *session, body *io.SectionReader) (*milter.Action, error) {
	buf := make([]byte, min(body.Size(), chunkBytes))
	for at := int64(0); ; at += int64(len(buf)) {
		n, err := body.ReadAt(buf[:min(int64(len(buf)), body.Size()-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the body of a mail: %w", err)
		}
		// The library wants one chunk at least.
		act, err := s.BodyChunk(buf[:n])
		if err != nil || act.Type != milter.ActionContinue || s.Skip() || s.ProtocolOption(milter.OptNoBody) || at+int64(n) >= body.Size() {
			return act, err
		}
	}
}
