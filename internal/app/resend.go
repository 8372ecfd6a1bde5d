package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/replay"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// resendPoll is how often the progress of replays is read.
const resendPoll = 300 * time.Millisecond

// ResendRequest says which events to send again.
type ResendRequest struct {
	// Since is the creation time of the first event.
	Since time.Time
	// Tenants are those whose events are sent; empty: all.
	Tenants []events.TenantID
	// Detach returns when the replays are created.
	Detach bool
}

// Resend creates a replay in mode all of every tenant that has events since a time, and waits until the replays have
// ended. It calls progress with how many deliveries have ended, of how many so far. The result has the replays that
// were created, also after an error.
func Resend(ctx context.Context, db Database, c NATS, q ResendRequest, progress func(done, total int64), log *zap.Logger) ([]replay.Replay, error) {
	if err := firstError(db.validate, c.validate); err != nil {
		return nil, err
	}
	pool, err := connectDatabase(ctx, db, newCondition("resend", log), nil)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	tenants, err := tenantsSince(ctx, pool, q)
	if err != nil {
		return nil, err
	}
	store := replay.NewStore(pool)
	var made []replay.Replay
	var failed error
	for _, id := range tenants {
		r, err := store.Create(ctx, id, replay.Request{Since: q.Since, Mode: replay.All})
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("create the replay of tenant %s: %w", id, err))
			continue
		}
		made = append(made, r)
	}
	nc, _, err := awaitBroker(ctx, c, "resend", func(context.Context, jetstream.JetStream) error { return nil }, log)
	if err != nil {
		return made, errors.Join(failed, err)
	}
	defer nc.Close()
	replay.Wake(nc)
	if !q.Detach {
		failed = errors.Join(failed, watchReplays(ctx, store, made, progress))
	}
	return made, failed
}

// tenantsSince returns the tenants whose events are sent again.
func tenantsSince(ctx context.Context, pool *pgxpool.Pool, q ResendRequest) ([]events.TenantID, error) {
	if len(q.Tenants) > 0 {
		return outbox.TenantsSince(ctx, pool, q.Tenants, q.Since)
	}
	const page = 500
	var all []events.TenantID
	at, id := subscribers.Place{}.Bound()
	after := tenancy.Position{CreatedAt: at, ID: id}
	for {
		found, err := tenancy.List(ctx, pool, after, page)
		if err != nil {
			return nil, err
		}
		ids := make([]events.TenantID, len(found))
		for i, t := range found {
			ids[i] = t.ID
			after = tenancy.Position{CreatedAt: t.CreatedAt, ID: t.ID}
		}
		some, err := outbox.TenantsSince(ctx, pool, ids, q.Since)
		if err != nil {
			return nil, err
		}
		if all = append(all, some...); len(found) < page {
			return all, nil
		}
	}
}

// watchReplays reads the states of replays into the list until they have ended.
func watchReplays(ctx context.Context, store *replay.Store, list []replay.Replay, progress func(done, total int64)) error {
	tick := time.NewTicker(resendPoll)
	defer tick.Stop()
	for {
		ended := true
		var done, total int64
		for i := range list {
			r := &list[i]
			if r.FinishedAt == nil {
				got, err := store.Get(ctx, r.TenantID, r.ID)
				if err != nil {
					return err
				}
				*r = got
				ended = ended && got.FinishedAt != nil
			}
			done += r.Delivered + r.Failed
			total += r.Enqueued + r.Waiting
		}
		progress(done, total)
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.New("stopped watching the replays, which still run: use `fanmail replay list`")
		case <-tick.C:
		}
	}
}
