package rawmail

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/stream"
)

// key returns the bucket's key of a folded address. It is a hash, so that a reader of
// the bucket does not learn the addresses, and so that every address is a valid key.
func key(address string) string {
	sum := sha256.Sum256([]byte(address))
	return hex.EncodeToString(sum[:])
}

// completeKey is in a bucket that has all addresses. A bucket without it was made anew,
// such as after the broker lost its data: that it lacks an address means nothing.
const completeKey = "complete"

// Directory answers whether an address receives, from the bucket.
type Directory struct{ js jetstream.JetStream }

// NewDirectory creates a directory. The bucket need not exist yet.
func NewDirectory(js jetstream.JetStream) *Directory { return &Directory{js} }

// Knows reports whether an agent takes the mails to an address. It fails if the bucket
// can't be read, and if it lacks the address and does not have all addresses yet.
func (d *Directory) Knows(ctx context.Context, address string) (bool, error) {
	kv, err := d.js.KeyValue(ctx, stream.Recipients)
	if err != nil {
		return false, fmt.Errorf("open bucket %s, which an ingest with a database makes: %w", stream.Recipients, err)
	}
	if known, err := receives(ctx, kv, address); known || err != nil {
		return known, err
	}
	// The bucket may be made anew or filled between two reads. An address is unknown if it
	// is missing from one and the same complete bucket.
	before, err := completed(ctx, kv)
	if err != nil {
		return false, err
	}
	if known, err := receives(ctx, kv, address); known || err != nil {
		return known, err
	}
	after, err := completed(ctx, kv)
	if err == nil && !after.Equal(before) {
		err = fmt.Errorf("look up a recipient in bucket %s: it was made anew meanwhile", stream.Recipients)
	}
	return false, err
}

// receives reports whether the bucket has an agent that takes the mails to an address.
func receives(ctx context.Context, kv jetstream.KeyValue, address string) (bool, error) {
	for _, agent := range mailbox.Candidates(address) {
		_, err := kv.Get(ctx, key(agent))
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, jetstream.ErrKeyNotFound) {
			return false, fmt.Errorf("look up a recipient in bucket %s: %w", stream.Recipients, err)
		}
	}
	return false, nil
}

// completed returns when the bucket was filled. It fails for one that is not.
func completed(ctx context.Context, kv jetstream.KeyValue) (time.Time, error) {
	entry, err := kv.Get(ctx, completeKey)
	if err != nil {
		return time.Time{}, fmt.Errorf("look up a recipient in bucket %s, which an ingest with a database has not filled yet: %w", stream.Recipients, err)
	}
	return entry.Created(), nil
}

const (
	// followEvery is how often a [Keeper] looks for changes, and so how late a new
	// agent may be known.
	followEvery = time.Second
	// overlap is how far back it looks: a transaction may commit so late.
	overlap = time.Minute
	// compareEvery is how often it compares all addresses with the bucket.
	compareEvery = time.Hour
)

// Keeper copies the addresses of all agents into the bucket. Several may run. Create
// one with [NewKeeper].
type Keeper struct {
	pool *pgxpool.Pool
	js   jetstream.JetStream
	o    stream.Options
	log  *zap.Logger
}

// NewKeeper creates a keeper; a nil log is silent.
func NewKeeper(pool *pgxpool.Pool, js jetstream.JetStream, o stream.Options, log *zap.Logger) *Keeper {
	if log == nil {
		log = zap.NewNop()
	}
	return &Keeper{pool: pool, js: js, o: o, log: log.Named("recipients")}
}

// Run works until ctx ends, and returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	b := backoff.WithContext(backoff.NewExponentialBackOff(backoff.WithMaxInterval(30*time.Second), backoff.WithMaxElapsedTime(0)), ctx)
	for ctx.Err() == nil {
		_ = backoff.RetryNotify(func() error { return k.follow(ctx, b) }, b, func(err error, wait time.Duration) {
			if ctx.Err() == nil {
				k.log.Warn("cannot keep the bucket of recipients; servers that publish mail know new agents later",
					zap.Error(err), zap.Duration("again_in", wait))
			}
		})
	}
	return nil
}

// follow compares everything once, and then copies changes until the next comparison
// is due.
func (k *Keeper) follow(ctx context.Context, b backoff.BackOff) error {
	kv, err := stream.EnsureRecipients(ctx, k.js, k.o)
	if err != nil {
		return err
	}
	_, since, err := mailbox.ChangedAddresses(ctx, k.pool, time.Now())
	if err != nil {
		return err
	}
	if err := k.compare(ctx, kv); err != nil {
		return err
	}
	b.Reset()
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	copied := map[string]bool{} // what was copied in the overlap, and whether the address receives
	for end := time.Now().Add(compareEvery); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := kv.Get(ctx, completeKey); err != nil {
			return fmt.Errorf("bucket %s has lost its addresses, or can't be read: %w", stream.Recipients, err)
		}
		changes, now, err := mailbox.ChangedAddresses(ctx, k.pool, since.Add(-overlap))
		if err != nil {
			return err
		}
		next := make(map[string]bool, len(changes))
		for address, receives := range changes {
			if was, known := copied[address]; !known || was != receives {
				if err := put(ctx, kv, key(address), receives); err != nil {
					return err
				}
			}
			next[address] = receives
		}
		copied, since = next, now
	}
	return nil
}

// compare makes the bucket equal to the table, and marks it as complete.
func (k *Keeper) compare(ctx context.Context, kv jetstream.KeyValue) error {
	have, err := keys(ctx, k.js)
	if err != nil {
		return fmt.Errorf("list bucket %s: %w", stream.Recipients, err)
	}
	complete := have[completeKey]
	delete(have, completeKey)
	added := 0
	for after := ""; ; {
		page, err := mailbox.AddressesAfter(ctx, k.pool, after)
		if err != nil {
			return err
		}
		if len(page) == 0 {
			break
		}
		for _, address := range page {
			name := key(address)
			if !have[name] {
				if err := put(ctx, kv, name, true); err != nil {
					return err
				}
				added++
			}
			delete(have, name)
		}
		after = page[len(page)-1]
	}
	for name := range have { // agents that were deleted
		if err := put(ctx, kv, name, false); err != nil {
			return err
		}
	}
	if !complete {
		if err := put(ctx, kv, completeKey, true); err != nil {
			return err
		}
	}
	if added+len(have) > 0 {
		k.log.Info("compared the bucket of recipients", zap.Int("added", added), zap.Int("removed", len(have)))
	}
	return nil
}

const (
	keyPage   = 5_000 // keys of one page
	keyPrefix = "$KV." + stream.Recipients + "."
)

// keys returns the bucket's keys. The client library would create a consumer, for which this process has no right.
func keys(ctx context.Context, js jetstream.JetStream) (map[string]bool, error) {
	have := make(map[string]bool)
	for from := uint64(1); ; {
		page, err := stream.Read(ctx, js, stream.Page{Stream: stream.RecipientsStream, Subject: keyPrefix + ">", From: from, Limit: keyPage})
		if err != nil || len(page) == 0 {
			return have, err
		}
		for _, m := range page {
			if m.Header.Get("KV-Operation") == "" { // else it says that the key was removed
				have[strings.TrimPrefix(m.Subject, keyPrefix)] = true
			}
			from = m.Sequence + 1
		}
	}
}

func put(ctx context.Context, kv jetstream.KeyValue, name string, receives bool) error {
	var err error
	if receives {
		_, err = kv.Put(ctx, name, nil)
	} else {
		err = kv.Purge(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("write bucket %s: %w", stream.Recipients, err)
	}
	return nil
}
