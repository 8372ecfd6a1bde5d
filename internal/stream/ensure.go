package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/setting"
)

// OverlapError says that the broker can't create a stream, because streams that are not
// Fanmail's have its subjects.
type OverlapError struct {
	Stream   string
	Subjects []string
	// Foreign are the names of the other streams; empty if the user may not list streams.
	Foreign []string
}

// Error names the other streams and the remedy.
func (e *OverlapError) Error() string {
	foreign, edit := "another stream, which `nats stream ls` shows,", "NAME"
	if len(e.Foreign) > 0 {
		foreign, edit = "stream "+strings.Join(e.Foreign, ", "), e.Foreign[0]
	}
	return fmt.Sprintf(setting.Named("stream %s can't be made: %s takes subjects of its %s: take them out with `nats stream edit %s`, or point FANMAIL_NATS_URL at another account"),
		e.Stream, foreign, strings.Join(e.Subjects, ", "), edit)
}

// Ensure creates or updates the streams of Options.Role as [Configs] says, and their
// shared consumers. Many processes may call it at once. It goes on after a failure and
// returns all errors. Among them are:
//
//   - a [*MismatchError] for a stream whose settings could lose data;
//   - an [*OverlapError] for a stream whose subjects another stream has;
//   - with Options.External, an error that wraps [jetstream.ErrStreamNotFound] or
//     [jetstream.ErrConsumerNotFound].
func Ensure(ctx context.Context, js jetstream.JetStream, o Options) error {
	e := &ensurer{js: js, o: o, log: o.Log}
	if e.log == nil {
		e.log = zap.NewNop()
	}
	var errs []error
	for _, want := range Configs(o) {
		if o.Role.uses(want.Name) {
			errs = append(errs, e.ensure(ctx, want))
		}
	}
	return errors.Join(errs...)
}

// ensure creates or updates one stream and its shared consumer.
func (e *ensurer) ensure(ctx context.Context, want jetstream.StreamConfig) error {
	err := e.stream(ctx, want)
	switch {
	case err != nil:
	case want.Name == Events && e.o.Role.fansOut():
		_, err = consumer(ctx, e.js, Events, FanoutConsumer(), e.o.External)
	case want.Name == Intake, kind(want.Name) == ownPrefix:
		_, err = consumer(ctx, e.js, want.Name, IntakeConsumerConfig(), e.o.External)
	case want.Name == Raw:
		_, err = consumer(ctx, e.js, Raw, RawConsumerConfig(), e.o.External)
	}
	return err
}

// ensurer creates and updates streams.
type ensurer struct {
	js  jetstream.JetStream
	o   Options
	log *zap.Logger

	asked bool
	info  *jetstream.AccountInfo
}

// accountTimeout bounds the request for the account's limits: a user without the right
// gets no answer.
const accountTimeout = 2 * time.Second

// account returns the account's limits; nil if they are not known.
func (e *ensurer) account(ctx context.Context) *jetstream.AccountInfo {
	if !e.asked {
		ctx, cancel := context.WithTimeout(ctx, accountTimeout)
		defer cancel()
		e.asked = true
		if info, err := e.js.AccountInfo(ctx); err == nil {
			e.info = info
		}
	}
	return e.info
}

// stream creates or updates one stream.
func (e *ensurer) stream(ctx context.Context, want jetstream.StreamConfig) error {
	s, err := e.js.Stream(ctx, want.Name)
	if e.o.External && errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("look up stream %s: it does not exist, and %s: create it with `fanmail streams`: %w", want.Name, setting.Named("FANMAIL_STREAMS=external lets this process create none"), err)
	}
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = e.create(ctx, want)
		if err == nil || !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return e.named(ctx, &want, err)
		}
		s, err = e.js.Stream(ctx, want.Name) // another process has created it
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", want.Name, err)
	}
	have := s.CachedInfo().Config
	if err := dangerous(have, want); err != nil {
		return err
	}
	merged := merge(have, want, e.o)
	switch {
	case e.o.External:
		if merged.MaxBytes != have.MaxBytes || merged.MaxAge != have.MaxAge {
			e.log.Warn("an external stream differs from this process's settings: the stream's own bounds hold",
				zap.String("stream", want.Name), zap.Int64("max_bytes", have.MaxBytes), zap.Duration("max_age", have.MaxAge))
		}
		return nil
	case unbounded(&merged):
		update := func(c jetstream.StreamConfig) error {
			c.Storage = have.Storage // the broker can't change it
			_, err := e.js.UpdateStream(ctx, c)
			return err
		}
		return e.named(ctx, &merged, e.fit(ctx, merged, update, update))
	case same(have, merged):
		return nil
	}
	if _, err := e.js.UpdateStream(ctx, merged); err != nil {
		if noRoom(err) && merged.MaxBytes <= have.MaxBytes {
			return fmt.Errorf("stream %s can't be changed, because the bounds of all streams together exceed the limits of the broker's account or servers: raise them %s: %w",
				merged.Name, setting.Named("(max_file, max_mem)"), err)
		}
		return e.named(ctx, &merged, err)
	}
	e.log.Info("updated a stream", zap.String("stream", merged.Name), zap.Int64("max_bytes", merged.MaxBytes), zap.Duration("max_age", merged.MaxAge))
	return nil
}

func (e *ensurer) create(ctx context.Context, want jetstream.StreamConfig) error {
	put := func(c jetstream.StreamConfig) error {
		_, err := e.js.CreateStream(ctx, c)
		return err
	}
	if want.Name == Events && e.o.EventsMaxBytes > 0 || parts[kind(want.Name)] == (part{}) {
		return put(want)
	}
	return e.fit(ctx, want, put, func(c jetstream.StreamConfig) error {
		_, err := e.js.UpdateStream(ctx, c)
		return err
	})
}

// unbounded reports whether a stream has no bound but needs one.
func unbounded(c *jetstream.StreamConfig) bool {
	return c.MaxBytes <= 0 && parts[kind(c.Name)] != part{}
}

// merge returns the server's configuration with the values that Fanmail needs and those of
// this process's settings. It keeps the operator's sizes, ages and additional replicas.
func merge(have, want jetstream.StreamConfig, o Options) jetstream.StreamConfig {
	merged := have
	merged.Description = want.Description
	merged.Subjects = want.Subjects
	// An existing stream keeps its persist mode, which the broker can't change.
	merged.AllowAtomicPublish = want.AllowAtomicPublish || have.AllowAtomicPublish
	merged.AllowDirect = want.AllowDirect || have.AllowDirect
	merged.Replicas = max(have.Replicas, want.Replicas)
	if want.Duplicates > 0 {
		merged.Duplicates = want.Duplicates
	}
	if want.Name == Events && o.EventsMaxBytes > 0 {
		merged.MaxBytes = o.EventsMaxBytes
	}
	if want.Name == Events && o.EventsMaxAge > 0 {
		merged.MaxAge = o.EventsMaxAge
	}
	return merged
}

// same reports whether [merge] changed nothing.
func same(have, merged jetstream.StreamConfig) bool {
	return have.Description == merged.Description &&
		slices.Equal(have.Subjects, merged.Subjects) &&
		have.AllowAtomicPublish == merged.AllowAtomicPublish &&
		have.AllowDirect == merged.AllowDirect &&
		have.Replicas == merged.Replicas &&
		have.Duplicates == merged.Duplicates &&
		have.MaxBytes == merged.MaxBytes &&
		have.MaxAge == merged.MaxAge
}

// fit calls put with a bound that the broker accepts, and shrink if it is to be lower. The account does not show the limits
// of its servers, nor what other streams have reserved. So fit halves a bound that is refused: what is accepted then is
// most of the room there is, and the stream gets its share of that.
func (e *ensurer) fit(ctx context.Context, c jetstream.StreamConfig, put, shrink func(jetstream.StreamConfig) error) error {
	p := parts[kind(c.Name)]
	bound := p.bytes(e.account(ctx), &c)
	c.MaxBytes = bound
	err := put(c)
	for ; noRoom(err) && c.MaxBytes > p.floor(); err = put(c) {
		c.MaxBytes = max(p.floor(), c.MaxBytes/2)
	}
	switch {
	case err != nil && noRoom(err) && c.Storage == jetstream.MemoryStorage:
		e.log.Warn("the broker has no memory left for a stream: it is created on disk, which is slower", zap.String("stream", c.Name), zap.Error(err))
		c.Storage = jetstream.FileStorage
		return e.fit(ctx, c, put, shrink)
	case err != nil:
		return err
	}
	if share := max(p.floor(), c.MaxBytes/p.share(&c)); c.MaxBytes < bound && share < c.MaxBytes {
		c.MaxBytes = share
		if err := shrink(c); err != nil {
			return fmt.Errorf("bound stream %s: %w", c.Name, err)
		}
	}
	e.log.Info("bounded a stream", zap.String("stream", c.Name), zap.Int64("max_bytes", c.MaxBytes))
	return nil
}

// subjectOverlap is the broker's error code for a subject that another stream takes.
const subjectOverlap = 10065

// named adds to a refusal what the broker does not say: the streams that have the
// subjects, or the limit.
func (e *ensurer) named(ctx context.Context, c *jetstream.StreamConfig, err error) error {
	var refused *jetstream.APIError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.ErrorCode == subjectOverlap:
		overlap := &OverlapError{Stream: c.Name, Subjects: c.Subjects}
		for _, subject := range c.Subjects {
			lister := e.js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
			for name := range lister.Name() {
				if name != c.Name && !slices.Contains(overlap.Foreign, name) {
					overlap.Foreign = append(overlap.Foreign, name)
				}
			}
		}
		return overlap
	case noRoom(err):
		return fmt.Errorf("stream %s with at most %d bytes does not fit the limits of the broker's account or servers: raise them %s: %w",
			c.Name, c.MaxBytes, setting.Named("(max_file, max_mem), or lower --events-max-bytes (FANMAIL_EVENTS_MAX_BYTES)"), err)
	}
	return fmt.Errorf("stream %s: %w", c.Name, err)
}

// NeedsOperator reports whether an error of [Ensure] stays until somebody changes the
// broker or the settings: a stream differs or is in the way, or a bound does not fit.
func NeedsOperator(err error) bool {
	var mismatch *MismatchError
	var overlap *OverlapError
	var refused *jetstream.APIError
	return errors.As(err, &mismatch) || errors.As(err, &overlap) ||
		errors.As(err, &refused) && (refused.ErrorCode == 10028 || refused.ErrorCode == 10047)
}
