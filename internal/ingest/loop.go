package ingest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-smtp"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// maxReceived is how many Received fields a mail may have: RFC 5321, 6.3, wants a server to take at least 100.
const maxReceived = 100

// errLooped refuses a mail that its recipient has received before.
var errLooped = &smtp.SMTPError{
	Code: 554, EnhancedCode: smtp.EnhancedCode{5, 4, 6}, Message: "Mail loop: a Delivered-To field says that this recipient has received the mail already",
}

// stopLoop refuses a mail with too many Received fields. It drops the recipients that a Delivered-To field (RFC 9228)
// names, and refuses the mail if no other is left. Somebody who sends the mails of an agent on adds that field.
func (s *receiver) stopLoop(m *mail, header mailparse.Header) error {
	if n := len(header.All("Received")); n > maxReceived {
		s.m.refuse(refusedLoop)
		return &smtp.SMTPError{
			Code: 554, EnhancedCode: smtp.EnhancedCode{5, 4, 6},
			Message: fmt.Sprintf("Mail loop: the mail has %d Received fields (limit %d)", n, maxReceived),
		}
	}
	delivered := make(map[string]bool)
	for _, v := range header.All("Delivered-To") {
		delivered[mailbox.Fold(strings.Trim(strings.TrimSpace(v), "<>"))] = true
	}
	if len(delivered) == 0 {
		return nil
	}
	kept := slices.DeleteFunc(slices.Clone(m.to), func(r recipient) bool { return delivered[mailbox.Fold(r.key)] })
	for range len(m.to) - len(kept) {
		s.m.refuse(refusedLoop)
	}
	if len(kept) == 0 {
		return errLooped
	}
	if dropped := len(m.to) - len(kept); dropped > 0 {
		s.log.Warn("a mail loops: recipients that have received it are dropped", zap.Int("dropped", dropped), zap.Int("kept", len(kept)))
	}
	m.to = kept
	return nil
}
