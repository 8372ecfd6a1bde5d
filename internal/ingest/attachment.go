package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/fanmail-dev/fanmail/events/email"
)

// ErrNoAttachment means that the mail has no attachment of that number.
var ErrNoAttachment = errors.New("the mail has no such attachment")

// ReadAttachment reads the nth attachment of a raw mail, counted from 0 as in
// the event's list, and its decoded content. It parses the mail as for
// the event, within the same bounds. Its errors are [ErrNoAttachment] and, if ctx
// ends before the mail is read, the context's.
func ReadAttachment(ctx context.Context, raw []byte, n int) (email.Attachment, []byte, error) {
	p := newParsed()
	p.want = n
	if m := splitMail(raw); !m.over && len(raw) > 0 {
		p.guard("body", func() { p.readBody(ctx, raw, m.body) })
	}
	if err := ctx.Err(); err != nil {
		// The content may be incomplete.
		return email.Attachment{}, nil, fmt.Errorf("read an attachment: %w", context.Cause(ctx))
	}
	if n < 0 || n >= len(p.attachments) {
		return email.Attachment{}, nil, ErrNoAttachment
	}
	return p.attachments[n], p.wanted, nil
}
