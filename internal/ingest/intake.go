package ingest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
)

// maxBatch is the most messages of one transaction.
const maxBatch = 500

// IntakeOptions are the operator's choices for the intake subject.
type IntakeOptions struct {
	// Drain is how long the last batch may take after Run's context has
	// ended. Zero means 10 seconds.
	Drain time.Duration
	// Streams are made again where the broker has lost them.
	Streams stream.Options
	// Log takes domain facts; nil logs nothing.
	Log *zap.Logger
	// Registerer takes the metrics; nil keeps none.
	Registerer prometheus.Registerer
	// Tracer makes a span for each batch; nil: none are made.
	Tracer trace.Tracer
}

// Intake takes events from the intake subject into the outbox. Any number of
// them may run. Make it with [NewIntake].
type Intake struct {
	pool  *pgxpool.Pool
	js    jetstream.JetStream
	nc    *nats.Conn
	drain time.Duration
	// streams says what to make again where it is missing.
	streams stream.Options
	log     *zap.Logger
	m       *intakeMetrics
	trace   trace.Tracer
}

// NewIntake makes an intake. The streams must be there, or come to be there:
// see [stream.Ensure]. The hints for the relay go to nc, which may be nil.
func NewIntake(pool *pgxpool.Pool, js jetstream.JetStream, nc *nats.Conn, o IntakeOptions) *Intake {
	if o.Drain <= 0 {
		o.Drain = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	return &Intake{pool: pool, js: js, nc: nc, drain: o.Drain, streams: o.Streams, log: o.Log.Named("intake"), m: newIntakeMetrics(o.Registerer), trace: o.Tracer}
}

// Run takes events in until ctx ends. Then it fetches no more, ends the batch
// in hand within IntakeOptions.Drain, or gives it back to the broker, and
// returns nil.
func (in *Intake) Run(ctx context.Context) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(in.drain, stop) })()
	var consumer jetstream.Consumer
	for ctx.Err() == nil {
		var batch []jetstream.Msg
		fetched := in.persist(ctx, "fetch from the intake stream", func() (err error) {
			if consumer == nil {
				if consumer, err = in.js.Consumer(ctx, stream.Intake, stream.IntakeConsumer); err != nil {
					consumer = nil
					return in.mend(ctx, err)
				}
			}
			if batch, err = fetch(ctx, consumer); err != nil {
				consumer = nil // it may have been made anew
			}
			return err
		})
		if fetched && len(batch) > 0 {
			in.take(work, batch)
		}
	}
	return nil
}

// mend makes the streams anew where err says that the broker has lost them.
// It gives err, and what went wrong with that.
func (in *Intake) mend(ctx context.Context, err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrNoStreamResponse) {
		return errors.Join(err, stream.Ensure(ctx, in.js, in.streams))
	}
	return err
}

// persist repeats do, less and less often, until it succeeds or ctx ends. It
// says whether it succeeded.
func (in *Intake) persist(ctx context.Context, what string, do func() error) bool {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	return backoff.RetryNotify(do, backoff.WithContext(b, ctx), func(err error, wait time.Duration) {
		if ctx.Err() == nil {
			in.log.Warn("cannot "+what, zap.Error(err), zap.Duration("again_in", wait))
		}
	}) == nil
}

// fetch waits for a message and takes whatever else is there.
func fetch(ctx context.Context, consumer jetstream.Consumer) ([]jetstream.Msg, error) {
	first, err := consumer.Next(jetstream.FetchContext(ctx))
	if errors.Is(err, nats.ErrTimeout) || ctx.Err() != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	batch := []jetstream.Msg{first}
	more, err := consumer.FetchNoWait(maxBatch - 1)
	if err != nil {
		return batch, nil //nolint:nilerr // the first is good; the next fetch will tell
	}
	for m := range more.Messages() {
		batch = append(batch, m)
	}
	return batch, nil
}

// intakeMessage is a message on its way to the outbox, or, where refused says why, to
// the dead messages.
type intakeMessage struct {
	msg     jetstream.Msg
	event   events.Event
	refused string
}

// deadRetry is how long a refused message waits in the stream where the broker
// would not take it as a dead letter.
const deadRetry = 5 * time.Second

// take brings a batch to its end: committed or dead and acknowledged, or given
// back.
func (in *Intake) take(ctx context.Context, batch []jetstream.Msg) {
	messages := make([]intakeMessage, len(batch))
	for i, msg := range batch {
		messages[i] = intakeMessage{msg: msg}
		ev, err := read(msg)
		if err != nil {
			messages[i].refused = err.Error()
		}
		messages[i].event = ev
	}
	traced, end := in.traced(ctx, messages)
	committed := in.commit(traced, messages)
	end()
	for i := range messages {
		l := &messages[i]
		switch {
		case l.refused != "":
			if err := in.deadLetter(ctx, l); err != nil {
				// Later: the sound ones behind it must not wait.
				in.log.Warn("cannot publish a dead letter", zap.Error(err))
				_ = l.msg.NakWithDelay(deadRetry)
				continue
			}
		case !committed:
			_ = l.msg.Nak() // a hint; without it the broker's wait runs out
			continue
		}
		// A lost acknowledgement brings the message again, and its key makes
		// nothing of it.
		_ = l.msg.Ack()
	}
}

// read makes an event of a message.
func read(msg jetstream.Msg) (events.Event, error) {
	tenant, err := events.ParseIntakeSubject(msg.Subject())
	if err != nil {
		return events.Event{}, &events.FieldError{Field: "subject", Reason: err.Error()}
	}
	ev, err := events.DecodeIntake(tenant, msg.Data())
	if err != nil || ev.IdempotencyKey != "" {
		return ev, err
	}
	if id := msg.Headers().Get(jetstream.MsgIDHeader); id != "" {
		ev.IdempotencyKey = id
		return ev, ev.Validate()
	}
	ev.IdempotencyKey, err = ownKey(msg)
	return ev, err
}

// ownKey names a message of the intake stream. The time is part of it, since
// a stream that was lost and made anew counts from 1 again.
func ownKey(msg jetstream.Msg) (string, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return "", fmt.Errorf("not a message of a stream: %w", err)
	}
	return "intake:" + strconv.FormatUint(meta.Sequence.Stream, 10) + ":" + strconv.FormatInt(meta.Timestamp.UnixNano(), 10), nil
}

// commit inserts what is not refused, and refuses what proves unfit on the
// way. It keeps at it while the database is away, and is false only where ctx
// ended before.
func (in *Intake) commit(ctx context.Context, messages []intakeMessage) bool {
	return in.persist(ctx, "commit a batch", func() error {
		err := in.transact(ctx, messages)
		if err == nil {
			return nil
		}
		if reason, unfit := unfitness(err); unfit {
			// One of them is to blame; alone, each answers for itself.
			if len(messages) == 1 {
				messages[0].refused = reason
				return nil
			}
			for i := range messages {
				if !in.commit(ctx, messages[i:i+1]) {
					return backoff.Permanent(ctx.Err())
				}
			}
			return nil
		}
		for i := range messages {
			_ = messages[i].msg.InProgress() // keeps the broker from sending it to somebody else
		}
		return err
	})
}

// unfitness says whether an error is the fault of the events themselves, so
// that trying again is of no use.
func unfitness(err error) (reason string, unfit bool) {
	var field *events.FieldError
	if errors.As(err, &field) {
		return field.Error(), true
	}
	// Class 22 is "data exception", 54 "program limit exceeded".
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok && len(pg.Code) == 5 && (pg.Code[:2] == "22" || pg.Code[:2] == "54") {
		return "the database refused it: " + pg.Message, true
	}
	return "", false
}

// transact inserts the messages that are not refused in one transaction, and
// refuses those of unknown tenants and agents.
func (in *Intake) transact(ctx context.Context, messages []intakeMessage) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commitTimeout, errors.New("the transaction took over a minute"))
	defer cancel()
	var sound []*intakeMessage
	for i := range messages {
		if messages[i].refused == "" {
			sound = append(sound, &messages[i])
		}
	}
	if len(sound) == 0 {
		return nil
	}
	start := time.Now()
	var done []outbox.Inserted
	var refused []string
	err := pgx.BeginFunc(ctx, in.pool, func(tx pgx.Tx) (err error) {
		var evs []events.Event
		if evs, refused, err = owned(ctx, tx, sound); err != nil {
			return err
		}
		done, err = outbox.InsertMany(ctx, tx, evs)
		return err
	})
	if err != nil {
		return err
	}
	for i, why := range refused {
		sound[i].refused = why
	}
	made := 0
	for _, d := range done {
		if d.New {
			made++
		}
	}
	if made > 0 {
		outbox.Wake(in.nc)
	}
	telemetry.Observe(ctx, in.m.transaction, time.Since(start).Seconds())
	in.m.accepted.Add(float64(made))
	in.m.duplicates.Add(float64(len(done) - made))
	in.log.Debug("events taken in", zap.Int("events", made), zap.Int("duplicates", len(done)-made), telemetry.ID(ctx))
	return nil
}

// owned returns the events of the messages whose tenant exists and has the agent,
// and for each message why it is refused, "" if it is not.
func owned(ctx context.Context, tx pgx.Tx, messages []*intakeMessage) (evs []events.Event, refused []string, err error) {
	tenants, agents := make([]events.TenantID, len(messages)), make([]string, len(messages))
	for i, m := range messages {
		tenants[i], agents[i] = m.event.TenantID, m.event.AgentID
	}
	known, have := make(map[events.TenantID]bool), make(mailbox.Agents)
	b := &pgx.Batch{}
	tenancy.QueueKnown(b, tenants, known)
	mailbox.QueueAgents(b, agents, have)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, nil, fmt.Errorf("look up tenants and agents: %w", err)
	}
	refused = make([]string, len(messages))
	for i, m := range messages {
		_, hasAgent := have.Of(m.event.TenantID, m.event.AgentID)
		switch {
		case !known[m.event.TenantID]:
			refused[i] = "tenant_id: there is no such tenant"
		case m.event.AgentID != "" && !hasAgent:
			refused[i] = "agent_id: the tenant has no such agent"
		default:
			evs = append(evs, m.event)
		}
	}
	return evs, refused, nil
}
