package replay

import (
	"context"
	"errors"

	"go.uber.org/zap"
)

// maxRound bounds the replays that one round works on.
const maxRound = 1000

// Round works on every replay that is due, for as long as each makes progress, and
// reports whether one did. It does not wait for deliveries. [Runner.Run] may run at
// the same time.
func (r *Runner) Round(ctx context.Context) (moved bool, err error) {
	claims, err := r.claim(ctx, maxRound)
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
	log := r.log.With(zap.Stringer("replay", c.id))
	defer r.release(context.WithoutCancel(ctx), c, true, log)
	w, err := r.load(ctx, c, log)
	if err != nil {
		return false, err
	}
	defer w.close(context.WithoutCancel(ctx))
	for did := true; did && !w.finished && ctx.Err() == nil; {
		if did, err = w.step(ctx); err != nil {
			return moved, err
		}
		moved = moved || did
	}
	return moved, ctx.Err()
}
