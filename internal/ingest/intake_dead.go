package ingest

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

const (
	// originalPrefix renames the broker's own header fields of a dead letter, which
	// would otherwise take effect on it (expectations, rollups, deduplication).
	originalPrefix = "Fanmail-Original-"
	// headerCut says that a dead letter's body was cut: with its reason it would
	// exceed the broker's limit.
	headerCut = "Fanmail-Truncated"
	// noTenant is the last token of a dead letter's subject if the message's subject
	// named no tenant.
	noTenant = "unknown"

	deadLetterTimeout = 10 * time.Second
)

// deadLetters publishes the messages that are refused.
type deadLetters struct {
	stream *intakeStream
	log    *zap.Logger
	dead   prometheus.Counter
}

// publish publishes a message to the dead-letter subject and waits until the broker has it.
func (d deadLetters) publish(ctx context.Context, l *intakeMessage) error {
	token := noTenant
	if tenant, err := events.ParseIntakeSubject(l.msg.Subject()); err == nil {
		token = tenant.String()
	}
	key, _ := ownKey(l.msg)
	if err := d.send(ctx, events.DeadIntakePrefix+token, l.msg.Headers(), l.msg.Data(), l.refused, key); err != nil {
		return err
	}
	d.log.Warn("intake message refused", zap.String("tenant", token), zap.String("reason", l.refused))
	return nil
}

// send publishes a dead letter with the headers and the body of the message. The key
// prevents a second one; "" for none.
func (d deadLetters) send(ctx context.Context, subject string, header nats.Header, body []byte, reason, key string) error {
	dead := nats.NewMsg(subject)
	for name, values := range header {
		if len(name) >= 5 && strings.EqualFold(name[:5], "Nats-") {
			name = originalPrefix + name
		}
		dead.Header[name] = values
	}
	dead.Header.Set(stream.HeaderReason, oneLine(reason))
	if key != "" {
		dead.Header.Set(jetstream.MsgIDHeader, key)
	}
	dead.Data = body
	if limit := int(d.stream.js.Conn().MaxPayload()); dead.Size() > limit {
		dead.Header.Set(headerCut, "body")
		dead.Data = dead.Data[:max(0, len(dead.Data)-(dead.Size()-limit))]
		if dead.Size() > limit { // the header alone is too long
			dead.Header = nats.Header{stream.HeaderReason: {oneLine(reason)}, headerCut: {"header and body"}}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, deadLetterTimeout)
	defer cancel()
	if _, err := d.stream.js.PublishMsg(ctx, dead); err != nil {
		return d.stream.mend(ctx, err)
	}
	d.dead.Inc()
	return nil
}

// oneLine makes a reason valid as a header field.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, mailparse.Cut(mailparse.Text(s), 512))
}
