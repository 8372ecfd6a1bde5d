package dispatch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/faults"
)

const (
	// partitionLease is how long a dispatcher owns its partitions without
	// renewing; heartbeat is how often it renews.
	partitionLease = 6 * time.Second
	heartbeat      = time.Second
	// leaseMargin is taken off the lease's end by the owner, for the time that
	// an attempt takes to get from the check to the wire.
	leaseMargin = 500 * time.Millisecond
	// handover bounds how long a partition that is to move waits for its
	// attempts on the wire.
	handover = 16 * time.Second
)

// wakeOwners hints that partitions are free.
const wakeOwners = "fanmail.wake.owners"

// ownership keeps this process's share of the partitions.
type ownership struct {
	d       *Dispatcher
	id      [16]byte
	until   atomic.Int64 // no attempt starts past it; process's monotonic nanoseconds
	base    time.Time
	claimed chan struct{} // partitions have come in

	mu        sync.Mutex
	consumers map[int]*consumer
	leaving   map[int]time.Time // partitions on their way out, since when
	began     bool              // the first share has come
	ready     bool              // and is being consumed
	rank      int               // among the live dispatchers, by their ids
	reranked  chan struct{}     // closed when rank changes, and made anew
}

type consumer struct {
	stop    context.CancelFunc
	done    chan struct{}
	started atomic.Bool // messages come
}

func newOwnership(d *Dispatcher) *ownership {
	o := &ownership{d: d, base: time.Now(), claimed: make(chan struct{}, 1), consumers: make(map[int]*consumer), leaving: make(map[int]time.Time), reranked: make(chan struct{})}
	_, _ = rand.Read(o.id[:])
	return o
}

// may says whether an attempt may start: the lease, as this process's clock
// has it, has not run out.
func (o *ownership) may() bool { return time.Since(o.base).Nanoseconds() < o.until.Load() }

// waiting says what the first share of partitions still waits for, or nil: from
// then on it stays nil, since shares come and go with replicas.
func (o *ownership) waiting() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ready {
		return nil
	}
	if !o.began {
		return errors.New("waiting for a share of the partitions")
	}
	for p, c := range o.consumers {
		if !c.started.Load() {
			return fmt.Errorf("waiting for the consumer of partition %d", p)
		}
	}
	o.ready = true
	return nil
}

// run renews, claims and hands over until ctx ends, and returns when all
// consumers have stopped. The partitions are then still owned.
func (o *ownership) run(ctx context.Context) {
	wake := make(chan struct{}, 1)
	if sub, err := o.d.nc.Subscribe(wakeOwners, func(*nats.Msg) { ring(wake) }); err == nil {
		defer func() { _ = sub.Unsubscribe() }()
	}
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	failing := false
	for ctx.Err() == nil {
		err := o.sync(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			o.d.log.Warn("partitions can't be renewed", zap.Error(err))
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-wake:
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

const (
	beat = `
INSERT INTO fanmail.dispatchers (id, name, alive_until) VALUES ($1, $2, now() + make_interval(secs => $3))
ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until`
	// Also past its end, as long as nobody else has claimed it.
	renewPartitions = `
UPDATE fanmail.partition_owners SET leased_until = now() + make_interval(secs => $2) WHERE owner = $1 RETURNING partition`
	countAlive = `SELECT count(*), count(*) FILTER (WHERE id < $1), clock_timestamp() FROM fanmail.dispatchers WHERE alive_until > now()`
	claimFree  = `
UPDATE fanmail.partition_owners SET owner = $1, epoch = epoch + 1, leased_until = now() + make_interval(secs => $2)
WHERE partition IN (
	SELECT partition FROM fanmail.partition_owners WHERE owner IS NULL OR leased_until <= now()
	ORDER BY partition LIMIT $3 FOR UPDATE SKIP LOCKED)
RETURNING partition`
	releasePartitions = `UPDATE fanmail.partition_owners SET owner = NULL, leased_until = '-infinity' WHERE owner = $1 AND partition = ANY($2::smallint[])`
)

// sync is one heartbeat.
func (o *ownership) sync(ctx context.Context) error {
	sent := time.Now()
	call, cancel := context.WithTimeout(ctx, partitionLease/2)
	defer cancel()
	var mine []int16
	var alive, rank int
	var now time.Time
	b := &pgx.Batch{}
	b.Queue(beat, o.id, o.d.o.Name, partitionLease.Seconds())
	b.Queue(renewPartitions, o.id, partitionLease.Seconds()).Query(func(rows pgx.Rows) (err error) {
		mine, err = pgx.CollectRows(rows, pgx.RowTo[int16])
		return err
	})
	b.Queue(countAlive, o.id).QueryRow(func(row pgx.Row) error { return row.Scan(&alive, &rank, &now) })
	if err := o.d.pool.SendBatch(call, b).Close(); err != nil {
		return err
	}
	o.d.clock.observe(sent, now)
	o.rerank(rank)
	o.d.ledger.peers.Store(int64(alive - 1))
	share := (events.Partitions + max(alive, 1) - 1) / max(alive, 1)
	if want := share - len(mine); want > 0 {
		rows, err := o.d.pool.Query(call, claimFree, o.id, partitionLease.Seconds(), want)
		if err != nil {
			return err
		}
		got, err := pgx.CollectRows(rows, pgx.RowTo[int16])
		if err != nil {
			return err
		}
		if len(got) > 0 {
			o.d.metrics.moves.WithLabelValues("claimed").Add(float64(len(got)))
			mine = append(mine, got...)
		}
	}
	o.adopt(ctx, mine, sent.Add(partitionLease-leaseMargin))
	o.shed(ctx, len(mine)-share)
	return nil
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

// adopt lets go of what went, and only then lets attempts start until the
// lease's new end, and consumes what came in.
func (o *ownership) adopt(ctx context.Context, mine []int16, until time.Time) {
	var owned [events.Partitions]bool
	for _, p := range mine {
		owned[p] = true
	}
	o.mu.Lock()
	for p := range o.leaving {
		if !owned[p] {
			delete(o.leaving, p)
		}
		owned[p] = false // ours in the table until its attempts have ended
	}
	var lost []*consumer
	for p, c := range o.consumers {
		if !owned[p] {
			c.stop()
			lost = append(lost, c)
			delete(o.consumers, p)
		}
	}
	o.mu.Unlock()
	if len(lost) > 0 {
		o.d.metrics.moves.WithLabelValues("lost").Add(float64(len(lost)))
	}
	for _, q := range o.d.sched.own(owned) {
		o.d.park(q)
	}
	o.until.Store(until.Sub(o.base).Nanoseconds())
	fresh := false
	o.mu.Lock()
	for p, own := range owned {
		if own && o.consumers[p] == nil {
			o.consumers[p] = o.consume(ctx, p)
			fresh = true
		}
	}
	o.began = true
	o.mu.Unlock()
	if fresh {
		ring(o.claimed)
	}
	o.d.fill()
}

func (o *ownership) consume(ctx context.Context, p int) *consumer {
	ctx, stop := context.WithCancel(ctx)
	c := &consumer{stop: stop, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		o.d.receive(ctx, p, func() { c.started.Store(true) })
	}()
	return c
}

// shed begins to hand over what is more than this process's share, and ends
// the handing over of partitions whose attempts have ended.
func (o *ownership) shed(ctx context.Context, surplus int) {
	o.mu.Lock()
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
	leaving := make(map[int]time.Time, len(o.leaving))
	for p, since := range o.leaving {
		leaving[p] = since
	}
	o.mu.Unlock()
	if len(leaving) == 0 {
		return
	}
	owned := o.d.sched.partitions()
	for p := range leaving {
		owned[p] = false
	}
	for _, q := range o.d.sched.own(owned) {
		o.d.park(q)
	}
	faults.At(faults.PartitionMoving)
	var free []int16
	for p, since := range leaving {
		if o.d.sched.busyIn(p) == 0 || time.Since(since) > handover {
			free = append(free, int16(p)) //nolint:gosec // under 32
		}
	}
	if len(free) == 0 {
		return
	}
	if _, err := o.d.pool.Exec(ctx, releasePartitions, o.id, free); err != nil {
		o.d.log.Warn("partitions can't be handed over yet", zap.Error(err))
		return
	}
	o.mu.Lock()
	for _, p := range free {
		delete(o.leaving, int(p))
	}
	o.mu.Unlock()
	o.d.metrics.moves.WithLabelValues("released").Add(float64(len(free)))
	_ = o.d.nc.Publish(wakeOwners, nil)
}

// release hands everything back, at the end.
func (o *ownership) release(ctx context.Context) {
	_, err := o.d.pool.Exec(ctx, `WITH gone AS (DELETE FROM fanmail.dispatchers WHERE id = $1 OR alive_until < now() - interval '1 hour')
		UPDATE fanmail.partition_owners SET owner = NULL, leased_until = '-infinity' WHERE owner = $1`, o.id)
	if err != nil {
		o.d.log.Warn("partitions were not handed back; their leases run out", zap.Error(err))
		return
	}
	_ = o.d.nc.Publish(wakeOwners, nil)
	_ = o.d.nc.Flush()
}
