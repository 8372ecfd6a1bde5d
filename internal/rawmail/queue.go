package rawmail

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanmail-dev/fanmail/internal/stream"
)

// orphaned is how old an object is at least before it is removed because no message
// names it: its publisher takes [publishTimeout] at most.
const orphaned = time.Hour

// Message is a raw mail from the broker. The receiver calls one of Ack, Retry and
// Refuse.
type Message struct {
	Mail
	// Refused is why the message is not a mail; "" if it is one.
	Refused string

	msg    jetstream.Msg
	object string
	queue  *Queue
}

// Ack removes the mail from the broker.
func (m *Message) Ack(ctx context.Context) error {
	if err := m.msg.DoubleAck(ctx); err != nil {
		return fmt.Errorf("acknowledge a raw mail: %w", err)
	}
	m.queue.remove(ctx, m.object)
	return nil
}

// Retry returns the mail to the broker for some time.
func (m *Message) Retry(after time.Duration) { _ = m.msg.NakWithDelay(after) }

// Deliveries is how often the broker has handed the mail out, this time included; 0 if it is not known.
func (m *Message) Deliveries() uint64 {
	meta, err := m.msg.Metadata()
	if err != nil {
		return 0
	}
	return meta.NumDelivered
}

// InProgress tells the broker that the mail is still being worked on.
func (m *Message) InProgress() { _ = m.msg.InProgress() }

// Parts returns the message as it came.
func (m *Message) Parts() (subject string, header nats.Header, body []byte) {
	return m.msg.Subject(), m.msg.Headers(), m.msg.Data()
}

// Key identifies the message among all of the stream, also if the stream was lost and
// created again.
func (m *Message) Key() string {
	meta, err := m.msg.Metadata()
	if err != nil {
		return ""
	}
	return fmt.Sprintf("raw:%d:%d", meta.Sequence.Stream, meta.Timestamp.UnixNano())
}

// Queue returns the raw mails of the broker. Any number of processes may have one.
type Queue struct {
	js       jetstream.JetStream
	o        stream.Options
	consumer jetstream.Consumer // nil: not looked up yet
}

// NewQueue creates a queue. The streams need not exist yet.
func NewQueue(js jetstream.JetStream, o stream.Options) *Queue { return &Queue{js: js, o: o} }

// Next waits for a mail. It returns nil and no error if none came for some time. One
// goroutine may call it; [Message.Load] and the rest may run in others.
func (q *Queue) Next(ctx context.Context) (*Message, error) {
	if q.consumer == nil {
		c, err := q.js.Consumer(ctx, stream.Raw, stream.RawConsumer)
		if err != nil {
			return nil, stream.Mend(ctx, q.js, q.o, err)
		}
		q.consumer = c
	}
	msg, err := q.consumer.Next(jetstream.FetchContext(ctx))
	switch {
	case errors.Is(err, nats.ErrTimeout), ctx.Err() != nil:
		return nil, nil
	case err != nil:
		q.consumer = nil // it may have been created again
		return nil, fmt.Errorf("fetch a raw mail: %w", err)
	}
	m := &Message{msg: msg, queue: q}
	m.Mail, m.object, err = Decode(msg.Subject(), msg.Headers(), msg.Data())
	if err != nil {
		m.Refused = err.Error()
	}
	if meta, err := msg.Metadata(); err == nil && (m.At.IsZero() || m.At.After(meta.Timestamp)) {
		m.At = meta.Timestamp
	}
	return m, nil
}

// Size returns the mail's size in bytes, before [Message.Load]; -1 if it is not known.
func (m *Message) Size(ctx context.Context) (int64, error) {
	if m.object == "" {
		return int64(len(m.Raw)), nil
	}
	store, err := openObjects(ctx, m.queue.js)
	if err != nil {
		return 0, err
	}
	info, err := store.info(ctx, m.object)
	if errors.Is(err, errNoObject) || err == nil && info.Deleted {
		m.Refused = "object " + m.object + " does not exist"
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look up object %s: %w", m.object, err)
	}
	return int64(min(info.Size, math.MaxInt64)), nil
}

// Load reads the mail's bytes, if they are not in the message. It sets Refused if they are
// not those that were stored.
func (m *Message) Load(ctx context.Context) error {
	if m.object == "" || m.Refused != "" {
		return nil
	}
	store, err := openObjects(ctx, m.queue.js)
	if err == nil {
		m.Raw, err = store.read(ctx, m.object)
	}
	if errors.Is(err, errNoObject) || errors.Is(err, errBroken) {
		m.Refused, err = m.object+": "+err.Error(), nil
	}
	return err
}

// keptPrefix begins the names of objects that dead letters name.
const keptPrefix = "dead-"

// keptFor is how long they are kept: as long as dead letters.
const keptFor = 30 * 24 * time.Hour

// Keep copies the message's object under the name that its dead letter gets.
func (m *Message) Keep(ctx context.Context) error {
	if m.object == "" {
		return nil
	}
	store, err := openObjects(ctx, m.queue.js)
	if err != nil {
		return err
	}
	raw, err := store.read(ctx, m.object)
	if errors.Is(err, errNoObject) || errors.Is(err, errBroken) {
		return nil
	}
	if err == nil {
		// After an earlier try the name may exist; its old bytes are removed as unfinished ones.
		err = putObject(ctx, m.queue.js, keptPrefix+m.object, strings.ToLower(rand.Text()), raw)
	}
	if err != nil {
		return fmt.Errorf("keep object %s for a dead letter: %w", m.object, err)
	}
	m.msg.Headers().Set(HeaderObject, keptPrefix+m.object)
	return nil
}

// remove deletes an object. If that fails, [Queue.RemoveOrphans] does it later.
func (q *Queue) remove(ctx context.Context, object string) {
	if object == "" {
		return
	}
	if store, err := openObjects(ctx, q.js); err == nil {
		_ = store.remove(ctx, object)
	}
}

// RemoveOrphans removes the objects that no message names: their publisher ended before it
// published the message, or the message was acknowledged and the object was not
// removed. It returns how many it removed.
func (q *Queue) RemoveOrphans(ctx context.Context) (n int, err error) {
	return q.removeOrphans(ctx, time.Now())
}

func (q *Queue) removeOrphans(ctx context.Context, now time.Time) (n int, err error) {
	if err := stream.EnsureObjects(ctx, q.js, q.o); err != nil {
		return 0, err
	}
	store, err := openObjects(ctx, q.js)
	if err != nil {
		return 0, err
	}
	descriptions, err := store.subjects(ctx, metaPrefix)
	if err != nil {
		return 0, err
	}
	s, err := q.js.Stream(ctx, stream.Raw)
	if err != nil {
		return 0, stream.Mend(ctx, q.js, q.o, err)
	}
	state := s.CachedInfo().State
	oldest := now
	if state.Msgs > 0 {
		oldest = state.FirstTime
	}
	named := make(map[string]bool, len(descriptions))
	for subject := range descriptions {
		o, err := store.describe(ctx, subject)
		if errors.Is(err, errNoObject) {
			continue // removed meanwhile
		}
		if err != nil {
			return n, err
		}
		until := oldest.Add(-orphaned)
		if strings.HasPrefix(o.Name, keptPrefix) {
			until = now.Add(-keptFor)
		}
		if !o.ModTime.Before(until) {
			named[chunkPrefix+o.NUID] = true
			continue
		}
		if err := store.purge(ctx, subject, o); err != nil {
			return n, fmt.Errorf("remove object %s: %w", o.Name, err)
		}
		n++
	}
	chunks, err := store.removeUnfinished(ctx, named, now.Add(-orphaned))
	return n + chunks, err
}

// removeUnfinished removes the bytes that belong to no object and are older than a time: a
// publisher ended while it stored them, and has no right to remove anything.
func (o objects) removeUnfinished(ctx context.Context, named map[string]bool, until time.Time) (n int, err error) {
	subjects, err := o.subjects(ctx, chunkPrefix)
	if err != nil {
		return 0, err
	}
	for subject := range subjects {
		if named[subject] {
			continue
		}
		stored, has, err := o.age(ctx, subject)
		if err == nil && has && stored.Before(until) {
			n++
			err = o.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil {
			return n, fmt.Errorf("remove the bytes of an unfinished object: %w", err)
		}
	}
	return n, nil
}
