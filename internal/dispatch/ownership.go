package dispatch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/faults"
	"github.com/fanmail-dev/fanmail/subscribers"
)

const (
	// partitionLease is how long a dispatcher owns its partitions without
	// renewing their lease; heartbeat is how often it renews it.
	partitionLease = 6 * time.Second
	heartbeat      = time.Second
	// leaseMargin is subtracted from the end of the lease, for the time from
	// the check to the first byte of a request.
	leaseMargin = 500 * time.Millisecond
	// handover bounds how long a partition that is to move waits for its
	// attempts in flight.
	handover = 16 * time.Second
)

// wakeOwners is the NATS subject of the hint that partitions are free.
const wakeOwners = "fanmail.wake.owners"

// partitionHolder is what ownership needs of whoever works on the partitions.
type partitionHolder interface {
	// own sets the owned partitions and releases what is queued of others.
	own(partitions [events.Partitions]bool)
	// lease sets until when work on them may start, and starts it.
	lease(until time.Time)
	// unrecorded counts the deliveries of a partition that are in flight or
	// not recorded yet.
	unrecorded(partition int) int
	// peers sets the number of other live dispatchers.
	peers(n int)
	// receive takes a partition's messages until ctx ends, and calls started
	// when they begin to come.
	receive(ctx context.Context, partition int, t *tenure, started func())
}

// ownershipConfig is what ownership is made of.
type ownershipConfig struct {
	pool  *pgxpool.Pool
	nc    *nats.Conn // nil: replicas are not told that partitions are free
	name  string     // of this replica
	log   *zap.Logger
	moves *prometheus.CounterVec
	clock *clock
}

// ownership keeps this process's share of the partitions, by a lease in
// Postgres.
type ownership struct {
	ownershipConfig

	id      [16]byte
	until   atomic.Int64 // no attempt starts from then on; nanoseconds since base
	wall    atomic.Int64 // the same by the wall clock, in Unix nanoseconds
	base    time.Time
	claimed chan struct{} // partitions came in

	mu        sync.Mutex
	consumers map[int]*consumer
	leaving   map[int]time.Time // partitions that are handed over, since when
	readiness readiness
	rank      int           // among the live dispatchers, by their ids
	reranked  chan struct{} // closed when rank changes, and made anew

	tenures [events.Partitions]atomic.Pointer[tenure] // never nil
}

// tenure is one uninterrupted ownership of a partition. What began under it must
// not go on in the next one: another owner may have worked in between. Nil holds
// for ever.
type tenure struct {
	owner *ownership
	over  atomic.Bool
	// former is the database's time, in Unix microseconds, until which an owner before
	// may have begun attempts that nobody knows the end of; 0: it handed over.
	former atomic.Int64
	// began is the database's time of the claim, in Unix microseconds: every lease that this process took of a row of
	// the partition began later. 0: the answer to the claim was lost.
	began atomic.Int64
}

// holds says that the partition has been owned without interruption, and that its
// lease has not run out.
func (t *tenure) holds() bool { return t == nil || !t.over.Load() && t.owner.leaseValid() }

// ended says that the partition has gone, though it may have come back.
func (t *tenure) ended() bool { return t != nil && t.over.Load() }

// tenure returns a partition's present ownership, or the next one if it is not
// owned.
func (o *ownership) tenure(partition int) *tenure { return o.tenures[partition].Load() }

// formerEnds returns how long an attempt that takes at most so long may still run for
// an owner before.
func (t *tenure) formerEnds(attempt time.Duration) time.Duration {
	if t == nil || t.former.Load() == 0 {
		return 0
	}
	return attempt + time.Duration(t.former.Load()-t.owner.clock.now().Earliest)*time.Microsecond
}

func (o *ownership) endTenure(partition int) {
	if t := o.tenures[partition].Swap(&tenure{owner: o}); t != nil {
		t.over.Store(true)
	}
}

// readiness says how far the first share of partitions has come.
type readiness uint8

const (
	readinessNone     readiness = iota // the first share has not come
	readinessOwned                     // it has
	readinessReceives                  // and its messages come
)

// consumer receives the messages of one partition.
type consumer struct {
	stop    context.CancelFunc
	done    chan struct{}
	started atomic.Bool // messages come
}

func newOwnership(c ownershipConfig) *ownership {
	o := &ownership{
		ownershipConfig: c, base: time.Now(), claimed: make(chan struct{}, 1),
		consumers: make(map[int]*consumer), leaving: make(map[int]time.Time), reranked: make(chan struct{}),
	}
	_, _ = rand.Read(o.id[:])
	for p := range o.tenures {
		o.endTenure(p)
	}
	return o
}

// leaseValid says that the partitions' lease has not run out, by this process's
// clocks. The monotonic clock stands still while the machine is suspended; the wall
// clock can be set back.
func (o *ownership) leaseValid() bool {
	now := time.Now()
	return now.Sub(o.base).Nanoseconds() < o.until.Load() && now.UnixNano() < o.wall.Load()
}

// owning returns an error until the first share of partitions is decided.
func (o *ownership) owning() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.readiness == readinessNone {
		return errNoShare
	}
	return nil
}

var errNoShare = errors.New("waiting for a share of the partitions")

// ready returns what the first share of partitions still waits for, or nil.
// From then on it returns nil, since shares come and go with replicas.
func (o *ownership) ready() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch o.readiness {
	case readinessNone:
		return errNoShare
	case readinessOwned:
		for p, c := range o.consumers {
			if !c.started.Load() {
				return fmt.Errorf("waiting for the consumer of partition %d", p)
			}
		}
		o.readiness = readinessReceives
	case readinessReceives:
	}
	return nil
}

// ranked returns the rank among the live dispatchers, from 0, and a channel
// that is closed when it changes.
func (o *ownership) ranked() (rank int, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.rank, o.reranked
}

// run renews, claims and hands over until ctx ends, and returns when all
// receivers have stopped. The partitions are still owned then.
func (o *ownership) run(ctx context.Context, holder partitionHolder) {
	free := make(chan struct{}, 1)
	if o.nc != nil {
		if sub, err := o.nc.Subscribe(wakeOwners, func(*nats.Msg) { wake(free) }); err == nil {
			defer func() { _ = sub.Unsubscribe() }()
		}
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	failing := false
	for ctx.Err() == nil {
		err := o.beat(ctx, holder)
		if err != nil && ctx.Err() == nil && !failing {
			o.log.Warn("partitions can't be renewed", zap.Error(err))
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-free:
		}
	}
	o.mu.Lock()
	all := o.consumers
	o.consumers = map[int]*consumer{}
	o.mu.Unlock()
	for _, c := range all {
		c.stop()
	}
	for _, c := range all {
		<-c.done
	}
}

// stillOwns asks the database whether nobody has claimed a partition of this process.
// If so, every row that was read before this call was leased before the next owner's time.
func (o *ownership) stillOwns(ctx context.Context, partition int) (mine bool, err error) {
	if err := o.pool.QueryRow(ctx, askOwner, o.id, partition).Scan(&mine); err != nil {
		return false, fmt.Errorf("ask who owns partition %d: %w", partition, err)
	}
	return mine, nil
}

// beat is one heartbeat: renew, claim what is missing, hand over what is too
// much.
func (o *ownership) beat(ctx context.Context, holder partitionHolder) error {
	sent := time.Now()
	call, cancel := context.WithTimeout(ctx, partitionLease/2)
	defer cancel()
	mine, alive, err := o.renew(call, sent)
	if err != nil {
		return err
	}
	holder.peers(alive - 1)
	o.unheard(mine)
	share := (events.Partitions + max(alive, 1) - 1) / max(alive, 1)
	if missing := share - len(mine); missing > 0 {
		// Give up first what has gone: if it is claimed again in this beat, another
		// owner may have worked on it meanwhile.
		o.giveUp(mine, holder)
		got, err := o.claim(call, missing)
		if err != nil {
			return fmt.Errorf("claim free partitions: %w", err)
		}
		mine = append(mine, got...)
	}
	o.adopt(ctx, mine, sent.Add(partitionLease-leaseMargin), holder)
	o.shed(ctx, len(mine)-share, holder)
	return nil
}

// unheard finds partitions whose claim was committed though its answer was lost: how
// they came is not known.
func (o *ownership) unheard(mine []int16) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, p := range mine {
		if _, leaving := o.leaving[int(p)]; !leaving && o.consumers[int(p)] == nil {
			o.tenure(int(p)).former.Store(o.clock.latest())
		}
	}
}

// claim takes up to n free partitions, and notes which of them were not handed over.
func (o *ownership) claim(ctx context.Context, n int) (got []int16, err error) {
	rows, err := o.pool.Query(ctx, claimFree, o.id, partitionLease.Seconds(), n)
	if err != nil {
		return nil, err
	}
	var p int16
	var former *time.Time
	var now time.Time
	_, err = pgx.ForEachRow(rows, []any{&p, &former, &now}, func() error {
		got = append(got, p)
		o.tenure(int(p)).began.Store(now.UnixMicro())
		if former != nil {
			o.tenure(int(p)).former.Store(former.UnixMicro())
		}
		return nil
	})
	o.moves.WithLabelValues(moveClaimed).Add(float64(len(got)))
	return got, err
}

// renew extends the leases, and returns the partitions that are still owned and
// the number of live dispatchers. sent is the time of the call.
func (o *ownership) renew(ctx context.Context, sent time.Time) (mine []int16, alive int, err error) {
	var rank int
	var now time.Time
	b := &pgx.Batch{}
	b.Queue(recordAlive, o.id, o.name, partitionLease.Seconds())
	b.Queue(renewPartitions, o.id, partitionLease.Seconds()).Query(func(rows pgx.Rows) (err error) {
		mine, err = pgx.CollectRows(rows, pgx.RowTo[int16])
		return err
	})
	b.Queue(countAlive, o.id).QueryRow(func(row pgx.Row) error { return row.Scan(&alive, &rank, &now) })
	if err := o.pool.SendBatch(ctx, b).Close(); err != nil {
		return nil, 0, fmt.Errorf("renew the partitions' lease: %w", err)
	}
	o.clock.observe(sent, now)
	o.rerank(rank)
	return mine, alive, nil
}

func (o *ownership) rerank(rank int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if rank != o.rank {
		o.rank = rank
		close(o.reranked)
		o.reranked = make(chan struct{})
	}
}

// giveUp ends the work on all partitions but mine, and returns those that may be
// worked on: mine without those that are being handed over.
func (o *ownership) giveUp(mine []int16, holder partitionHolder) [events.Partitions]bool {
	var owned [events.Partitions]bool
	for _, p := range mine {
		owned[p] = true
	}
	o.mu.Lock()
	for p := range o.leaving {
		if !owned[p] {
			delete(o.leaving, p)
			o.endTenure(p)
		}
		owned[p] = false // ours in the table until its attempts have ended
	}
	lost := 0
	for p, c := range o.consumers {
		if !owned[p] {
			c.stop()
			lost++
			delete(o.consumers, p)
			o.endTenure(p)
		}
	}
	o.mu.Unlock()
	o.moves.WithLabelValues(moveLost).Add(float64(lost))
	holder.own(owned)
	return owned
}

// adopt gives up the partitions that went, and only then lets attempts start
// until the lease's new end. Then it receives the messages of those that came.
func (o *ownership) adopt(ctx context.Context, mine []int16, until time.Time, holder partitionHolder) {
	owned := o.giveUp(mine, holder)
	o.until.Store(until.Sub(o.base).Nanoseconds())
	o.wall.Store(until.UnixNano())
	fresh := false
	o.mu.Lock()
	for p, own := range owned {
		if own && o.consumers[p] == nil {
			o.consumers[p] = consume(ctx, p, o.tenure(p), holder)
			fresh = true
		}
	}
	if o.readiness == readinessNone {
		o.readiness = readinessOwned
	}
	o.mu.Unlock()
	if fresh {
		wake(o.claimed)
	}
	holder.lease(until)
}

func consume(ctx context.Context, p int, t *tenure, holder partitionHolder) *consumer {
	ctx, stop := context.WithCancel(ctx)
	c := &consumer{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		holder.receive(ctx, p, t, func() { c.started.Store(true) })
	}()
	return c
}

// shed begins to hand over the surplus, and ends the handover of partitions
// whose attempts have ended.
func (o *ownership) shed(ctx context.Context, surplus int, holder partitionHolder) {
	leaving := o.leave(surplus)
	if len(leaving) == 0 {
		return
	}
	var owned [events.Partitions]bool
	o.mu.Lock()
	for p := range o.consumers {
		owned[p] = true
	}
	o.mu.Unlock()
	holder.own(owned)
	faults.At(faults.PartitionMoving)
	var free []int16
	for p, since := range leaving {
		switch unrecorded := holder.unrecorded(p); {
		case unrecorded > 0 && time.Since(since) <= handover:
			continue
		case unrecorded > 0:
			o.tenure(p).former.Store(o.clock.latest())
		}
		free = append(free, int16(p)) //nolint:gosec // under 32
	}
	if len(free) == 0 {
		return
	}
	unsure, former := o.formers()
	if _, err := o.pool.Exec(ctx, releasePartitions, o.id, unsure, former, free); err != nil {
		o.log.Warn("partitions can't be handed over yet", zap.Error(err))
		return
	}
	o.mu.Lock()
	for _, p := range free {
		delete(o.leaving, int(p))
		o.endTenure(int(p))
	}
	o.mu.Unlock()
	o.moves.WithLabelValues(moveReleased).Add(float64(len(free)))
	o.tellFree()
}

// formers returns the partitions for which attempts of an owner before may still run,
// and the times of [tenure.former], for the next owner.
func (o *ownership) formers() (partitions []int16, until []time.Time) {
	for p := range o.tenures {
		if t := o.tenure(p); t.formerEnds(subscribers.MaxTimeout) > 0 {
			partitions = append(partitions, int16(p))
			until = append(until, time.UnixMicro(t.former.Load()))
		}
	}
	return partitions, until
}

// leave stops receiving for the surplus, and returns all partitions that are
// being handed over, since when.
func (o *ownership) leave(surplus int) map[int]time.Time {
	o.mu.Lock()
	defer o.mu.Unlock()
	surplus -= len(o.leaving)
	for p, c := range o.consumers {
		if surplus <= 0 {
			break
		}
		surplus--
		c.stop()
		delete(o.consumers, p)
		o.leaving[p] = time.Now()
	}
	return maps.Clone(o.leaving)
}

// release hands over all partitions, at the end.
func (o *ownership) release(ctx context.Context) {
	o.until.Store(0)
	o.mu.Lock()
	clear(o.leaving)
	o.mu.Unlock()
	unsure, former := o.formers()
	if _, err := o.pool.Exec(ctx, releaseAll, o.id, unsure, former); err != nil {
		o.log.Warn("partitions were not handed over; their leases run out", zap.Error(err))
		return
	}
	o.tellFree()
	if o.nc != nil && o.nc.IsConnected() {
		_ = o.nc.FlushWithContext(ctx)
	}
}

func (o *ownership) tellFree() {
	if o.nc != nil {
		_ = o.nc.Publish(wakeOwners, nil)
	}
}
