package ingest

import (
	"context"
	"errors"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/rawmail"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
)

// NewPublishingServer creates a server without a database: it publishes mails to the
// broker, and asks the directory for recipients. A nil directory accepts every
// recipient. See [NewServer] for the rest.
func NewPublishingServer(p *rawmail.Publisher, d *rawmail.Directory, o Options) (*Server, error) {
	s, err := newServer(o)
	if err != nil {
		return nil, err
	}
	s.to = &broker{receiver: s.receiver, publisher: p, directory: d}
	return s, nil
}

// broker is the target of a server without a database.
type broker struct {
	*receiver

	publisher *rawmail.Publisher
	directory *rawmail.Directory // nil: every recipient is accepted
}

func (b *broker) lookUp(ctx context.Context, address string) (recipient, time.Time, error) {
	r, now := recipient{address: address, agent: mailbox.Fold(address)}.addressed(), time.Now()
	if len(r.agent) > events.MaxKeyBytes || !utf8.ValidString(address) {
		return r, now, errUnknown
	}
	if b.directory == nil {
		return r, now, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lookUpTimeout, errors.New("looking up a recipient took over 10 s"))
	defer cancel()
	known, err := b.directory.Knows(ctx, address)
	if err == nil && !known && (b.o.Postmaster == "" || !mailbox.HasRole(address)) {
		err = errUnknown
	}
	return r, now, err
}

// room lets everybody in: without a database nothing is known of quotas. The intake of the mail counts it.
func (b *broker) room(context.Context, recipient, int64) error { return nil }

func (b *broker) accept(ctx context.Context, m mail) error {
	start := time.Now()
	out := rawmail.Mail{From: m.from, Client: m.client, Helo: m.helo, At: m.at, Raw: m.raw, Milters: m.milters, Received: m.received}
	for _, r := range m.to {
		out.To = append(out.To, r.address)
	}
	switch err := b.publisher.Publish(ctx, &out); {
	case errors.Is(err, rawmail.ErrFull):
		b.m.refuse(refusedBrokerFull)
		b.log.Error("cannot publish a mail", zap.Error(err), zap.Int("bytes", len(m.raw)), telemetry.ID(ctx))
		return errBrokerFull
	case err != nil:
		b.m.refuse(refusedBroker)
		b.log.Warn("cannot publish a mail", zap.Error(err), zap.Int("bytes", len(m.raw)), telemetry.ID(ctx))
		return errDatabase
	}
	took := time.Since(start)
	telemetry.Observe(ctx, b.m.transaction, took.Seconds())
	b.m.mails.Inc()
	b.log.Info("mail published", zap.Int("bytes", len(m.raw)), zap.Int("recipients", len(m.to)), zap.Duration("took", took), telemetry.ID(ctx))
	return nil
}
