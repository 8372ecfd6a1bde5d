package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events/email"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
)

// undecidedFor is how long a mail that was answered with 250 already waits for DNS to answer, so that its sender can be
// checked. Without an answer it counts as not authenticated.
const undecidedFor = 15 * time.Minute

// The replies to a mail that an agent does not accept from its sender.
var (
	errDenied = &smtp.SMTPError{
		Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "The recipient refuses mail from this sender (deny_senders)",
	}
	errOutsider = &smtp.SMTPError{
		Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "The recipient accepts mail from listed authors only (allow_senders)",
	}
	errNoDMARC = &smtp.SMTPError{
		Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "The recipient accepts mail only if the domain in From passes DMARC (require_dmarc)",
	}
	errUndecided = &smtp.SMTPError{
		Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "The recipient requires DMARC, and DNS did not answer for the domain in From, try again later",
	}
)

// refusedSender returns the reason of a reply to a mail that no recipient accepts from its sender; "" for other errors.
func refusedSender(answer error) reason {
	switch {
	case errors.Is(answer, errDenied):
		return refusedDenied
	case errors.Is(answer, errOutsider):
		return refusedOutsider
	case errors.Is(answer, errNoDMARC):
		return refusedDMARC
	case errors.Is(answer, errUndecided):
		return deferredDMARC
	}
	return ""
}

// screen drops the recipients that do not accept the mail from its sender. answer is the reply if none is left. The
// reply to DATA is for all recipients, so those that are left get the mail. later is then the reply to give after that,
// if one of the others may accept the mail when it is sent again; nil for none.
func (s *receiver) screen(ctx context.Context, m *mail, p *parsed) (later, answer error) {
	var kept []recipient
	for _, r := range m.to {
		refused := judge(r.senders, m, p)
		if refused != nil { // by rules of up to a minute ago
			s.recipients.forget(mailbox.Fold(r.address))
			fresh, _, err := s.lookUp(ctx, r.address)
			switch {
			case err == nil:
				r, refused = fresh, judge(fresh.senders, m, p)
			case !takesNone(err):
				s.m.refuse(refusedDatabase)
				return nil, errDatabase
			}
		}
		if refused == nil {
			kept = append(kept, r)
			continue
		}
		why := refusedSender(refused)
		s.m.refuse(why)
		s.log.Info("an agent refuses a sender", zap.String("agent_id", r.agent), zap.String("reason", string(why)),
			zap.Int("recipients", len(m.to)), telemetry.ID(ctx))
		switch {
		case errors.Is(refused, errUndecided):
			later = refused
		case answer == nil:
			answer = refused
		}
	}
	m.to = kept
	if later != nil && (len(kept) == 0 || !p.recognizable()) { // sent again, the others could not be told from new ones
		return nil, later
	}
	if len(kept) == 0 {
		return nil, answer
	}
	return later, nil
}

// judge returns the reply if the rules refuse the mail, else nil.
func judge(rules mailbox.SenderRules, m *mail, p *parsed) error {
	authors := make([]string, 0, len(p.from))
	for _, a := range p.from {
		authors = append(authors, a.Address)
	}
	if rules.Denies(m.from) || rules.Denies(authors...) {
		return errDenied
	}
	if !rules.Allows(authors) || len(rules.Allow) > 0 && p.cut["from"] {
		return errOutsider
	}
	result := m.authentication.DMARC.Result
	switch {
	case !rules.RequireDMARC || result == email.Pass:
		return nil
	case result == email.TempError && (!m.promised || time.Since(m.at) < undecidedFor):
		return errUndecided
	}
	return errNoDMARC
}
