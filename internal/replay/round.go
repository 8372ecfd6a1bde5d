package replay

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"
)

// maxRound is the most replays that one round works on.
const maxRound = 1000

// Round takes steps of every due replay for as long as it makes progress. It reports
// whether any did. It does not wait for deliveries. [Runner.Run] may run at the same time.
func (r *Runner) Round(ctx context.Context) (moved bool, err error) {
	claims, err := claimDue(ctx, r.pool, maxRound)
	if err != nil {
		return false, err
	}
	for _, c := range claims {
		did, err := r.roundOf(ctx, c)
		moved = moved || did
		if err != nil && !errors.Is(err, errLost) {
			return moved, err
		}
	}
	return moved, nil
}

func (r *Runner) roundOf(ctx context.Context, c claim) (moved bool, err error) {
	p := &progress{claim: c, log: r.log.With(zap.Stringer("replay", c.id)), began: time.Now()}
	defer r.release(context.WithoutCancel(ctx), p, true)
	if p.work, err = r.load(ctx, c, p.log); err != nil {
		return false, err
	}
	defer p.forget()
	for did := true; did && !p.work.finished && ctx.Err() == nil; {
		if did, err = p.work.step(ctx); err != nil {
			return moved, err
		}
		moved = moved || did
	}
	return moved, ctx.Err()
}
