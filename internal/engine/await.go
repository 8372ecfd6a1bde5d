package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"
	"go.uber.org/zap"
)

// AwaitTimeout bounds one try of [Await].
const AwaitTimeout = 10 * time.Second

// Await tries until it succeeds, ctx ends, or the error is permanent, and says
// in the log what it waits for: at once, and then at least every six seconds.
func Await(ctx context.Context, log *zap.Logger, what string, try func(context.Context) error) error {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(4*time.Second), backoff.WithMaxElapsedTime(0))
	waited := false
	err := backoff.RetryNotify(func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, AwaitTimeout, fmt.Errorf("no answer within %s", AwaitTimeout))
		defer cancel()
		return try(ctx)
	}, backoff.WithContext(b, ctx), func(err error, next time.Duration) {
		waited = true
		log.Warn("waiting for "+what, zap.Error(err), zap.Duration("next_try", next.Round(time.Millisecond)))
	})
	if err == nil && waited {
		log.Info("reached " + what)
	}
	return err
}

// Permanent marks an error that [Await] returns at once.
func Permanent(err error) error { return backoff.Permanent(err) }
