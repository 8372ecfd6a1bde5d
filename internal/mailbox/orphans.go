package mailbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/internal/blobs"
)

const (
	// orphaned is the age from which on a blob without a row is removed.
	orphaned = time.Hour
	// recent is how old a day may be, from its beginning, to be looked at in each round.
	recent = 48 * time.Hour
	// expired is the age of a day, from its beginning, at which all its rows are gone.
	expired = Retention + 48*time.Hour
	// orphanBatch bounds the blobs whose rows are looked up in one statement, and
	// removals the requests to the store at once.
	orphanBatch = 500
	removals    = 8
	// settleTimeout bounds the wait for other transactions.
	settleTimeout = time.Minute
)

// Orphans is the result of [RemoveOrphans]. It is also right if that fails.
type Orphans struct {
	Seen    int64 // blobs listed
	Removed int64
	// Skipped says that another process removes orphans at the moment.
	Skipped bool
}

// RemoveOrphans removes the blobs that no row names and that are over an hour old: those
// whose rows are past their retention, those whose mail was deleted, and those that
// were written for a mail whose transaction failed. It lists the days of which all
// rows are gone, the last two days, and each other day in one of the 24 hours alone.
// Call it once an hour. Any number of processes may call it: one works at a time.
//
// A blob that a row names is never removed. Blobs of an hour ago can get no row any more,
// except by a transaction that has inserted it already, and RemoveOrphans first waits
// until all these have ended.
func RemoveOrphans(ctx context.Context, pool *pgxpool.Pool, store blobs.Store) (Orphans, error) {
	c := &collection{pool: pool, store: store}
	// The lock ends with its transaction, which does nothing else and so holds back no VACUUM.
	err := pgx.BeginFunc(ctx, pool, func(lock pgx.Tx) error {
		var first bool
		err := lock.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(hashtextextended('fanmail.blobs', 0))
			AND set_config('idle_in_transaction_session_timeout', '0', true) IS NOT NULL, clock_timestamp()`).Scan(&first, &c.now)
		if err != nil {
			return fmt.Errorf("take the lock: %w", err)
		}
		if c.skipped = !first; c.skipped {
			return nil
		}
		if err := c.settle(ctx); err != nil {
			return err
		}
		return c.days(ctx)
	})
	done := Orphans{Seen: c.seen, Removed: c.removed.Load(), Skipped: c.skipped}
	if err != nil {
		return done, fmt.Errorf("remove blobs that no mail needs: %w", err)
	}
	return done, nil
}

type collection struct {
	pool  *pgxpool.Pool
	store blobs.Store
	now   time.Time // by the database's clock

	seen    int64
	removed atomic.Int64
	skipped bool
}

// settle waits until every transaction that has written anything until now has ended. Those have lower ids than one that
// begins now. The xmax of a snapshot is no such bound: it follows the last transaction that ended, not the last that began.
func (c *collection) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleTimeout, fmt.Errorf("a transaction that writes has been open for over %s", settleTimeout))
	defer cancel()
	var next string
	if err := c.pool.QueryRow(ctx, `SELECT pg_current_xact_id()::text`).Scan(&next); err != nil {
		return fmt.Errorf("read the open transactions: %w", err)
	}
	for {
		var ended bool
		if err := c.pool.QueryRow(ctx, `SELECT pg_snapshot_xmin(pg_current_snapshot()) >= $1::text::xid8`, next).Scan(&ended); err != nil {
			return fmt.Errorf("read the open transactions: %w", err)
		}
		if ended {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// days removes the orphans of each day that is due.
func (c *collection) days(ctx context.Context) error {
	for name, err := range c.store.List(ctx, rawPrefix) {
		if err != nil {
			return err
		}
		day, err := time.Parse(dayFormat, strings.TrimSuffix(strings.TrimPrefix(name, rawPrefix), "/"))
		if err != nil {
			continue // not ours
		}
		if !due(day, c.now.UTC()) {
			continue
		}
		if err := c.day(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// due reports whether a day's blobs are listed at a time.
func due(day, now time.Time) bool {
	age := now.Sub(day)
	return age <= recent || age >= expired || int(day.Unix()/86400)%24 == now.Hour()
}

// day removes the orphans below a prefix.
func (c *collection) day(ctx context.Context, prefix string) error {
	var old []string
	for key, err := range c.store.List(ctx, prefix) {
		if err != nil {
			return err
		}
		c.seen++
		id, _, ok := parseBlobKey(key)
		if !ok || c.now.Sub(bornAt(id)) < orphaned {
			continue
		}
		if old = append(old, key); len(old) < orphanBatch {
			continue
		}
		if err := c.remove(ctx, old); err != nil {
			return err
		}
		old = old[:0]
	}
	return c.remove(ctx, old)
}

// remove removes those keys that no row names.
func (c *collection) remove(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	ids := make([][16]byte, len(keys))
	for i, key := range keys {
		ids[i], _, _ = parseBlobKey(key)
	}
	// The creation time of a row is the database's, so it does not follow from the id.
	rows, err := c.pool.Query(ctx, `SELECT blob FROM fanmail.message_raws WHERE id = ANY($1::uuid[]) AND blob IS NOT NULL`, ids)
	if err != nil {
		return fmt.Errorf("look up the mails of blobs: %w", err)
	}
	named, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look up the mails of blobs: %w", err)
	}
	var group errgroup.Group
	group.SetLimit(removals)
	for _, key := range keys {
		if slices.Contains(named, key) {
			continue
		}
		group.Go(func() error {
			if err := c.store.Delete(ctx, key); err != nil {
				return err
			}
			c.removed.Add(1)
			return nil
		})
	}
	return group.Wait()
}
