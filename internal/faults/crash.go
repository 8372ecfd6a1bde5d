package faults

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// Variable is the environment variable that arms a process.
const Variable = "FANMAIL_CRASH_AT"

// Point is a place in the code.
type Point string

// The points, in the order in which an event meets them.
const (
	// MigrateBegun: connected, nothing migrated yet.
	MigrateBegun Point = "migrate.begun"
	// MigrateApplied: the schema is committed, the partitions are not made.
	MigrateApplied Point = "migrate.applied"
	// OutboxLeased: the relay's lease is committed, nothing is published.
	OutboxLeased Point = "outbox.leased"
	// OutboxPublished: the broker has the events, the round is not left.
	OutboxPublished Point = "outbox.published"
	// FanoutCommitted: delivery rows are committed, their messages unsent.
	FanoutCommitted Point = "fanout.committed"
	// FanoutPublished: delivery messages are sent, the events not acknowledged.
	FanoutPublished Point = "fanout.published"
	// DispatchPosted: the answer has come, the ledger does not know of it.
	DispatchPosted Point = "dispatch.posted"
	// OutcomesBegun: a batch of outcomes is about to be written.
	OutcomesBegun Point = "ledger.begun"
	// OutcomesCommitted: it is written, nothing is acknowledged.
	OutcomesCommitted Point = "ledger.committed"
	// PartitionMoving: a partition's lanes are given up, its row not released.
	PartitionMoving Point = "partition.moving"
)

// Points are all of them.
var Points = []Point{
	MigrateBegun, MigrateApplied, OutboxLeased, OutboxPublished, FanoutCommitted, FanoutPublished,
	DispatchPosted, OutcomesBegun, OutcomesCommitted, PartitionMoving,
}

// target is the point at which the process is to die.
type target struct {
	point Point
	left  atomic.Int64
}

var armed atomic.Pointer[target]

func init() {
	t, err := parse(os.Getenv(Variable))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Variable, err)
		os.Exit(1)
	}
	armed.Store(t)
}

// parse reads <point>[:n]; nil for "".
func parse(v string) (*target, error) {
	if v == "" {
		return nil, nil
	}
	name, times, counted := strings.Cut(v, ":")
	t := &target{point: Point(name)}
	if !slices.Contains(Points, t.point) {
		return nil, fmt.Errorf("%q is none of the points %v", name, Points)
	}
	t.left.Store(1)
	if counted {
		n, err := strconv.ParseInt(times, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no number from 1", times)
		}
		t.left.Store(n)
	}
	return t, nil
}

// At passes a point. Where the process was told to die here it does not return.
func At(p Point) {
	if t := armed.Load(); t != nil && t.point == p && t.left.Add(-1) == 0 {
		die()
	}
}

func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill() // SIGKILL
	}
	select {} // the signal is on its way
}
