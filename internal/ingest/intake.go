package ingest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/eventschema"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/stream"
	"github.com/fanmail-dev/fanmail/internal/telemetry"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/internal/tracecontext"
	"github.com/fanmail-dev/fanmail/internal/usage"
	"github.com/fanmail-dev/fanmail/outbox"
)

// IntakeOptions are the operator's choices for the intake subject.
type IntakeOptions struct {
	// Drain bounds the last batch after Run's context has ended. Zero means 10
	// seconds.
	Drain time.Duration
	// Streams are created again if the broker has lost them.
	Streams stream.Options
	// Usage holds tenants to their quotas of the day. nil: a counter of the intake's own.
	Usage *usage.Counter
	// Log may be nil: silent.
	Log *zap.Logger
	// Registerer receives the metrics; nil: none.
	Registerer prometheus.Registerer
	// Tracer makes a span for each batch; nil: no spans.
	Tracer trace.Tracer
}

// Intake inserts events from the intake subject into the outbox. Any number of
// intakes may run. Create one with [NewIntake].
type Intake struct {
	pool   *pgxpool.Pool
	waker  *outbox.Waker
	usage  *usage.Counter
	drain  time.Duration
	stream *intakeStream // the shared one
	turns  *semaphore.Weighted
	dead   deadLetters
	types  *eventschema.Checker
	log    *zap.Logger
	m      *intakeMetrics
	trace  trace.Tracer
}

// turnsAtOnce is how many batches are taken in at once. Streams wait for their turn in order, so that each of them gets a
// batch in between two batches of another.
const turnsAtOnce = 2

// NewIntake creates an intake. The streams must exist, or be created later: see
// [stream.Ensure]. Hints for the relay go to nc, which may be nil.
func NewIntake(pool *pgxpool.Pool, js jetstream.JetStream, nc *nats.Conn, o IntakeOptions) *Intake {
	if o.Drain <= 0 {
		o.Drain = 10 * time.Second
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if o.Usage == nil {
		o.Usage = usage.New(pool, nil)
	}
	from, log, m := &intakeStream{js: js, name: stream.Intake, options: o.Streams}, o.Log.Named("intake"), newIntakeMetrics(o.Registerer)
	return &Intake{pool: pool, waker: outbox.NewWaker(nc), usage: o.Usage, drain: o.Drain, stream: from, turns: semaphore.NewWeighted(turnsAtOnce), dead: deadLetters{from, log, m.dead}, types: eventschema.NewChecker(false), log: log, m: m, trace: o.Tracer}
}

// persist repeats do with exponential backoff until it succeeds or ctx ends, and
// reports whether it succeeded.
func persist(ctx context.Context, log *zap.Logger, what string, do func() error) bool {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond), backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
	return backoff.RetryNotify(do, backoff.WithContext(b, ctx), func(err error, wait time.Duration) {
		if ctx.Err() == nil {
			log.Warn("cannot "+what, zap.Error(err), zap.Duration("again_in", wait))
		}
	}) == nil
}

// laterRetry is how long a message waits in the stream whose comparison with a schema is put off.
const laterRetry = time.Second

// deadRetry is how long a refused message waits in the stream if the broker does not
// accept it as a dead letter.
const deadRetry = 5 * time.Second

// take finishes a batch: each message is committed or a dead letter, and
// acknowledged, or it is returned to the broker.
func (in *Intake) take(ctx context.Context, batch []jetstream.Msg) {
	messages := make([]intakeMessage, len(batch))
	for i, msg := range batch {
		messages[i] = read(msg)
	}
	traced, end := in.traced(ctx, messages)
	committed := in.commit(traced, messages)
	end()
	silent := false
	for i := range messages {
		l := &messages[i]
		switch {
		case l.refused != "":
			if silent {
				_ = l.msg.NakWithDelay(deadRetry)
				continue
			}
			if err := in.dead.publish(ctx, l); err != nil {
				// Try later: valid messages behind it must not wait, least of all for a broker that does not answer.
				silent = errors.Is(err, context.DeadlineExceeded)
				in.log.Warn("cannot publish a dead letter", zap.Error(err))
				_ = l.msg.NakWithDelay(deadRetry)
				continue
			}
		case l.later:
			_ = l.msg.NakWithDelay(laterRetry)
			continue
		case !committed:
			_ = l.msg.Nak() // a hint; without it the broker's wait runs out
			continue
		}
		// If the acknowledgement is lost, the message comes again, and its key
		// prevents a second event.
		_ = l.msg.Ack()
	}
}

// commit inserts the messages that are not refused, and refuses those that prove
// invalid. It retries while the database is away; false only if ctx ended first.
func (in *Intake) commit(ctx context.Context, messages []intakeMessage) bool {
	return persist(ctx, in.log, "commit a batch", func() error {
		err := in.transact(ctx, messages)
		if err == nil {
			return nil
		}
		if reason, unfit := unfitness(err); unfit {
			// One of them is invalid: commit each by itself to find it.
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

// unfitness reports whether the events themselves cause an error, so that a retry is
// of no use.
func unfitness(err error) (reason string, unfit bool) {
	if answer := refusedData(err); answer != nil {
		return "the database refused it: " + answer.Message, true
	}
	return "", false
}

// transact inserts the messages that are not refused in one transaction, and
// refuses those of unknown tenants and agents, and those above a quota. These become
// dead letters: a message that waited for the next day would take the place of
// other tenants' messages in the stream and in the consumer.
func (in *Intake) transact(ctx context.Context, messages []intakeMessage) error {
	ctx, cancel := context.WithTimeoutCause(ctx, commitTimeout, errors.New("the transaction took over a minute"))
	defer cancel()
	var sound []*intakeMessage
	for i := range messages {
		if messages[i].refused == "" && !messages[i].later {
			sound = append(sound, &messages[i])
		}
	}
	if len(sound) == 0 {
		return nil
	}
	if err := in.claim(ctx, sound); err != nil {
		return err
	}
	committed := make(map[*intakeMessage]bool, len(sound))
	defer func(all []*intakeMessage) { settle(all, committed) }(slices.Clone(sound))
	sound = slices.DeleteFunc(sound, func(m *intakeMessage) bool { return m.refused != "" || m.accepted })
	if len(sound) == 0 {
		return nil
	}
	if err := in.fit(ctx, sound); err != nil {
		return err
	}
	sound = slices.DeleteFunc(sound, func(m *intakeMessage) bool { return m.later })
	if len(sound) == 0 {
		return nil
	}
	return in.insert(ctx, sound, committed)
}

// insert inserts the messages, and marks those that became events as committed.
func (in *Intake) insert(ctx context.Context, sound []*intakeMessage, committed map[*intakeMessage]bool) error {
	start := time.Now()
	var done []outbox.Inserted
	var refused []string
	err := pgx.BeginFunc(ctx, in.pool, func(tx pgx.Tx) (err error) {
		if refused, err = owned(ctx, tx, sound); err != nil {
			return err
		}
		var evs []outbox.Prepared
		for i, m := range sound {
			if refused[i] = cmp.Or(refused[i], m.unfit); refused[i] == "" {
				evs = append(evs, m.event)
			}
		}
		done, err = outbox.InsertPrepared(ctx, tx, evs)
		return err
	})
	if err != nil {
		return err
	}
	inserted := len(done)
	for i, why := range refused {
		if sound[i].refused = why; why != "" {
			continue
		}
		if done[0].New {
			committed[sound[i]] = true
		}
		done = done[1:]
	}
	made := len(committed)
	duplicates := inserted - made
	if made > 0 {
		in.waker.Wake()
	}
	telemetry.Observe(ctx, in.m.transaction, time.Since(start).Seconds())
	in.m.accepted.Add(float64(made))
	in.m.duplicates.Add(float64(duplicates))
	in.log.Debug("events taken in", zap.Int("events", made), zap.Int("duplicates", duplicates), telemetry.ID(ctx))
	return nil
}

// claim reserves an event and its bytes for each message that is not refused, and refuses those for which their tenant has
// no room, unless their event exists. Messages of unknown tenants get no reservation. They are settled by [settle].
func (in *Intake) claim(ctx context.Context, messages []*intakeMessage) error {
	tenants := make([]events.TenantID, len(messages))
	for i, m := range messages {
		tenants[i] = m.tenant
	}
	known, err := in.usage.Follow(ctx, tenants)
	if err != nil {
		return err
	}
	above := make(map[*intakeMessage]*usage.OverError)
	for _, m := range messages {
		if !known[m.tenant] {
			continue
		}
		m.reserved, err = in.usage.Reserve(ctx, m.tenant, nil, m.amount())
		if over, ok := errors.AsType[*usage.OverError](err); ok {
			above[m] = over
			continue
		}
		if err != nil {
			settle(messages, nil)
			return err
		}
	}
	if err := in.refuse(ctx, above); err != nil {
		settle(messages, nil)
		return err
	}
	return nil
}

// refuse refuses the messages that are above a quota, except those whose event exists: the broker delivers again what was
// committed and not acknowledged, and a producer may repeat what it sent.
func (in *Intake) refuse(ctx context.Context, above map[*intakeMessage]*usage.OverError) error {
	if len(above) == 0 {
		return nil
	}
	messages := slices.Collect(maps.Keys(above))
	evs := make([]outbox.Prepared, len(messages))
	for i, m := range messages {
		evs[i] = m.event
	}
	accepted, err := outbox.Accepted(ctx, in.pool, evs)
	if err != nil {
		return err
	}
	for i, m := range messages {
		if accepted[i] {
			m.accepted = true
			in.m.duplicates.Inc()
			continue
		}
		m.refused = above[m].Error()
		in.m.overQuota.WithLabelValues(doorIntake, above[m].Quota).Inc()
	}
	return nil
}

// owned returns for each message why it is refused: its tenant does not exist, or does not
// have the agent. It returns "" for others.
func owned(ctx context.Context, tx pgx.Tx, messages []*intakeMessage) (refused []string, err error) {
	tenants, agents := make([]events.TenantID, len(messages)), make([]string, len(messages))
	for i, m := range messages {
		tenants[i], agents[i] = m.tenant, m.agent
	}
	known, have := make(map[events.TenantID]bool), make(mailbox.Agents)
	b := &pgx.Batch{}
	tenancy.QueueKnown(b, tenants, known)
	mailbox.QueueAgents(b, agents, have)
	if err := tx.SendBatch(ctx, b).Close(); err != nil {
		return nil, fmt.Errorf("look up tenants and agents: %w", err)
	}
	refused = make([]string, len(messages))
	for i, m := range messages {
		_, hasAgent := have.Taking(m.tenant, m.agent)
		switch {
		case !known[m.tenant]:
			refused[i] = "tenant_id: there is no such tenant"
		case m.agent != "" && !hasAgent:
			refused[i] = "agent_id: the tenant has no such agent"
		}
	}
	return refused, nil
}

// fit finds messages whose type is neither of the catalogue nor one that the tenant has, and those whose data does not
// fit the schema of such a type. It puts off what would take too long: the batch is of many tenants.
func (in *Intake) fit(ctx context.Context, messages []*intakeMessage) error {
	var own []events.Event
	var of []*intakeMessage
	for _, m := range messages {
		if m.own.Type != "" {
			own, of = append(own, m.own), append(of, m)
		}
	}
	faults, err := in.types.Check(ctx, in.pool, own)
	for i, fault := range faults {
		switch of[i].unfit = ""; {
		case errors.Is(fault, eventschema.ErrLater):
			of[i].later = true
		case fault != nil:
			of[i].unfit = fault.Error()
		}
	}
	return err
}

// traced begins the span of a batch. The traces of producers are
// linked, not continued: producers are outsiders and must not decide what is sampled.
func (in *Intake) traced(ctx context.Context, messages []intakeMessage) (_ context.Context, end func()) {
	if in.trace == nil {
		return ctx, func() {}
	}
	o := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(
		attribute.String("messaging.system", "nats"), attribute.Int("messaging.batch.message_count", len(messages)))}
	for i := range messages {
		if theirs := messages[i].msg.Headers().Get(tracecontext.Header); theirs != "" {
			o = append(o, tracecontext.Link(theirs))
		}
	}
	ctx, span := in.trace.Start(ctx, "take in events", o...)
	return ctx, func() { span.End() }
}
