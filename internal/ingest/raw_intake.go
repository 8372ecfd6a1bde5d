package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/internal/rawmail"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

const (
	// rawWorkers take raw mails in at the same time.
	rawWorkers = 32
	// rawRetry is how long a raw mail waits after a failure, and rawRetryMost after many: those that fail for long leave
	// the workers to others.
	rawRetry     = 5 * time.Second
	rawRetryMost = time.Minute
	// rawUndecided is how long it waits for DNS to answer for its sender.
	rawUndecided = time.Minute
	// orphansEvery is how often objects that no message names are removed.
	orphansEvery = time.Hour
	// deadRawPrefix is the prefix of the subjects of raw mails that are refused.
	deadRawPrefix = "mail.dead.raw."
)

// RawIntake takes the raw mails of the broker in, as [Server] does those of its
// sessions. Any number may run. Create one with [NewRawIntake].
type RawIntake struct {
	*receiver

	queue *rawmail.Queue
	dead  deadLetters
	drain time.Duration
	log   *zap.Logger
	m     *rawMetrics
	away  blobsAway
}

type rawMetrics struct{ taken, refused prometheus.Counter }

// NewRawIntake creates an intake that shares the server's limits, checks and database.
func NewRawIntake(s *Server, js jetstream.JetStream, o IntakeOptions) *RawIntake {
	log := o.Log
	if log == nil {
		log = zap.NewNop()
	}
	log = log.Named("raw")
	m := &rawMetrics{
		taken:   prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_raw_mails_total", Help: "Raw mails taken in from the broker."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "fanmail_raw_dead_total", Help: "Raw mails moved to the dead-letter subject."}),
	}
	register(o.Registerer, m.taken, m.refused)
	return &RawIntake{
		receiver: s.receiver, queue: rawmail.NewQueue(js, o.Streams), drain: o.Drain, log: log, m: m,
		away: blobsAway{tries: semaphore.NewWeighted(awayWorkers)},
		dead: deadLetters{stream: &intakeStream{js: js, name: stream.Intake, options: o.Streams}, log: log, dead: m.refused},
	}
}

// Run works until ctx ends. Then it fetches no more and lets the mails in work end
// within IntakeOptions.Drain, or returns them to the broker. It returns nil.
func (in *RawIntake) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(in.drain, stop) })()
	var workers sync.WaitGroup
	defer workers.Wait()
	workers.Go(func() { in.removeOrphans(ctx) })
	free := make(chan struct{}, rawWorkers)
	for ctx.Err() == nil {
		var msg *rawmail.Message
		fetched := persist(ctx, in.log, "fetch from the stream of raw mails", func() (err error) {
			msg, err = in.queue.Next(ctx)
			return err
		})
		if !fetched || msg == nil {
			continue
		}
		free <- struct{}{}
		workers.Go(func() {
			defer func() { <-free }()
			in.handle(work, msg)
		})
	}
	return nil
}

// handle takes one mail in: it is acknowledged, or returned to the broker.
func (in *RawIntake) handle(ctx context.Context, msg *rawmail.Message) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(stream.RawAckWait / 4):
				msg.InProgress()
			}
		}
	}()
	err := in.takeIn(ctx, msg)
	if err == nil && msg.Refused != "" {
		err = in.refuse(ctx, msg)
	}
	if err == nil {
		err = msg.Ack(ctx)
	}
	if err != nil {
		wait := rawWait(msg.Deliveries())
		if errors.Is(err, errUndecided) {
			wait = rawUndecided
		}
		in.log.Warn("cannot take a raw mail in; it stays on the broker", zap.Error(err), zap.Duration("again_in", wait))
		msg.Retry(wait)
	}
}

// rawWait is how long a raw mail waits that has failed so often.
func rawWait(failed uint64) time.Duration {
	wait := rawRetry
	for ; failed > 1 && wait < rawRetryMost; failed-- {
		wait *= 2
	}
	return min(wait, rawRetryMost)
}

// takeIn commits the mail, or sets why it is refused. An error means that it is to be
// tried again: the database, the broker, the blob store or DNS is away. What is wrong with
// the mail itself is never an error, or it would come again for ever.
func (in *RawIntake) takeIn(ctx context.Context, msg *rawmail.Message) error {
	if msg.Refused != "" {
		return nil
	}
	size, err := msg.Size(ctx)
	if err != nil {
		return err
	}
	if size > in.o.MaxMessageBytes {
		msg.Refused = fmt.Sprintf("the mail has %d bytes; the limit is %d (FANMAIL_MAX_MESSAGE_BYTES)", size, in.o.MaxMessageBytes)
	}
	if msg.Refused != "" {
		return nil
	}
	release, err := in.away.enter(in.stores(size))
	if err != nil {
		return err
	}
	defer release()
	m := mail{promised: true, from: msg.From, at: msg.At, client: msg.Client, helo: msg.Helo, milters: msg.Milters, received: msg.Received}
	if m.to, err = in.recipientsOf(ctx, msg); err != nil || msg.Refused != "" {
		return err
	}
	_, let, err := in.hold(ctx, size)
	if err != nil {
		return err
	}
	defer let()
	if err := msg.Load(ctx); err != nil || msg.Refused != "" {
		return err
	}
	m.raw, m.size = msg.Raw, int64(len(msg.Raw))
	ctx, end := in.trace(ctx, time.Now(), m.size, len(m.to))
	err = in.accept(ctx, m)
	end(err)
	in.away.note(in.stores(size), err)
	if why := refusedSender(err); why != "" && why != deferredDMARC {
		return nil // no agent wants it, so it is no dead letter
	}
	if refused, ok := errors.AsType[*smtp.SMTPError](err); ok && refused.Code/100 == 5 {
		msg.Refused = refused.Message
		return nil
	}
	if err == nil {
		in.m.taken.Inc()
	}
	return err
}

// recipientsOf looks up the recipients who take the mail. It sets why the mail is refused if there is none.
func (in *RawIntake) recipientsOf(ctx context.Context, msg *rawmail.Message) (to []recipient, err error) {
	disabled := false
	for _, address := range msg.To {
		r, _, err := in.lookUp(ctx, address)
		switch {
		case takesNone(err):
			in.receiver.m.refuse(refusedRecipient)
			disabled = disabled || errors.Is(err, errSuspended)
		case err != nil:
			return nil, err
		default:
			to = append(to, r)
		}
	}
	switch {
	case len(to) == 0 && disabled:
		msg.Refused = "no agent takes mail to an address of its recipients: the tenant is deleted"
	case len(to) == 0:
		msg.Refused = "no agent has an address of its recipients"
	}
	return to, nil
}

// refuse publishes the message as a dead letter.
func (in *RawIntake) refuse(ctx context.Context, msg *rawmail.Message) error {
	if err := msg.Keep(ctx); err != nil {
		return err
	}
	subject, header, body := msg.Parts()
	node := strings.TrimPrefix(subject, stream.RawPrefix)
	if err := in.dead.send(ctx, deadRawPrefix+node, header, body, msg.Refused, msg.Key()); err != nil {
		return err
	}
	in.log.Warn("raw mail refused", zap.String("node", node), zap.String("reason", msg.Refused))
	return nil
}

// removeOrphans removes the objects that no message names.
func (in *RawIntake) removeOrphans(ctx context.Context) {
	for ctx.Err() == nil {
		persist(ctx, in.log, "remove objects that no raw mail names", func() error {
			n, err := in.queue.RemoveOrphans(ctx)
			if n > 0 {
				in.log.Info("removed objects that no raw mail names", zap.Int("objects", n))
			}
			return err
		})
		select {
		case <-ctx.Done():
		case <-time.After(orphansEvery):
		}
	}
}
