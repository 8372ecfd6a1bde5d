package faults

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// Variable is the environment variable from which the commands take the spec for [Arm].
const Variable = "FANMAIL_CRASH_AT"

// Point is a place in the code at which a process can be killed.
type Point string

// The points, in the order in which an event passes them.
const (
	// MigrateBegun: the process is connected; no migration has run.
	MigrateBegun Point = "migrate.begun"
	// MigrateApplied: the schema is committed; the partitions do not exist yet.
	MigrateApplied Point = "migrate.applied"
	// OutboxLeased: the relay's lease is committed; no event is published.
	OutboxLeased Point = "outbox.leased"
	// OutboxPublished: the broker has the events; the round has not ended.
	OutboxPublished Point = "outbox.published"
	// FanoutCommitted: the delivery rows are committed; their messages are not sent.
	FanoutCommitted Point = "fanout.committed"
	// FanoutPublished: the delivery messages are sent; the events are not acknowledged.
	FanoutPublished Point = "fanout.published"
	// DispatchPosted: the answer to an attempt has arrived; its outcome is not recorded.
	DispatchPosted Point = "dispatch.posted"
	// OutcomesBegun: a batch of outcomes is about to be written.
	OutcomesBegun Point = "outcomes.begun"
	// OutcomesCommitted: the batch is committed; no message is acknowledged.
	OutcomesCommitted Point = "outcomes.committed"
	// PartitionMoving: the lanes of a partition are released; its row is not.
	PartitionMoving Point = "partition.moving"
)

// Points lists all points.
var Points = []Point{
	MigrateBegun, MigrateApplied, OutboxLeased, OutboxPublished, FanoutCommitted, FanoutPublished,
	DispatchPosted, OutcomesBegun, OutcomesCommitted, PartitionMoving,
}

// target is the point at which the process kills itself.
type target struct {
	point Point
	left  atomic.Int64
}

var armed atomic.Pointer[target]

// Arm makes this process kill itself at a point. The spec is POINT or POINT:N, where N is how many times the process
// passes the point until it dies, 1 by default. An empty spec disarms. Only a command's main function may call Arm: a
// program that embeds Fanmail must never be killed by it. The error names an unknown point or an invalid number.
func Arm(spec string) error {
	if spec == "" {
		armed.Store(nil)
		return nil
	}
	name, times, counted := strings.Cut(spec, ":")
	t := &target{point: Point(name)}
	if !slices.Contains(Points, t.point) {
		return fmt.Errorf("arm the fault point %q: it is none of %v", name, Points)
	}
	t.left.Store(1)
	if counted {
		n, err := strconv.ParseInt(times, 10, 64)
		if err != nil || n < 1 {
			return fmt.Errorf("arm the fault point %q: %q is not a number from 1", name, times)
		}
		t.left.Store(n)
	}
	armed.Store(t)
	return nil
}

// At marks a point. It does not return if the process is armed to die here.
func At(p Point) {
	if t := armed.Load(); t != nil && t.point == p && t.left.Add(-1) == 0 {
		die()
	}
}

func die() {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill() // SIGKILL
	}
	select {} // until the signal arrives
}
