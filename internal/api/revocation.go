package api

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// revocationSubject and a key's id are the subject that tells every replica of
	// a revocation, after its commit.
	revocationSubject = "fanmail.wake.keys."
	// revocationCheck is how often an open stream looks its key up, for the case
	// that the message was lost.
	revocationCheck = 5 * time.Second
	// revocationGrace is how long a stream stays open while the lookup fails.
	revocationGrace = time.Minute
)

// tellRevoked tells every replica that a key is revoked. Call it after the commit.
func (s *server) tellRevoked(id events.APIKeyID) {
	if s.nc != nil {
		_ = s.nc.Publish(revocationSubject+id.String(), nil)
	}
}

// whileValid returns a context that ends when the caller's key is revoked, or when nobody
// could tell for [revocationGrace]. Call stop when the context is not needed any
// more; it waits until the check has ended.
func (s *server) whileValid(ctx context.Context, p *tenancy.Principal) (valid context.Context, stop func(), err error) {
	// Subscribe before the first lookup: a revocation is then seen by one of them.
	told := make(chan *nats.Msg, 1)
	sub, err := s.nc.ChanSubscribe(revocationSubject+events.APIKeyID(p.ID()).String(), told)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for the revocation of a key: %w", err)
	}
	known, err := tenancy.Valid(ctx, s.pool, p)
	if err == nil && !known {
		err = tenancy.ErrUnauthenticated
	}
	if err != nil {
		_ = sub.Unsubscribe()
		return nil, nil, err
	}
	valid, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func(valid context.Context) {
		defer close(ended)
		defer cancel()
		s.untilRevoked(valid, p, told)
	}(valid)
	return valid, func() {
		cancel()
		<-ended
		_ = sub.Unsubscribe()
	}, nil
}

// untilRevoked returns when the key is not known to be valid any more, or ctx ends.
// A message alone ends nothing: whoever can publish would then end any stream.
func (s *server) untilRevoked(ctx context.Context, p *tenancy.Principal, told <-chan *nats.Msg) {
	again := time.NewTicker(revocationCheck)
	defer again.Stop()
	for seen := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-told:
		case <-again.C:
		}
		lookup, cancel := context.WithTimeoutCause(ctx, revocationCheck, fmt.Errorf("looking a key up took over %s", revocationCheck))
		ok, err := tenancy.Valid(lookup, s.pool, p)
		cancel()
		switch {
		case err == nil && !ok:
			return
		case err == nil:
			seen = time.Now()
		case time.Since(seen) > revocationGrace:
			s.log.Warn("a tail ends because its key can't be looked up", zap.Stringer("key_id", p.KeyID), zap.Error(err))
			return
		}
	}
}
