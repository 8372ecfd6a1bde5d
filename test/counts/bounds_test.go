package counts_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

var nop = zap.NewNop()

// rounds is the maximum number of rounds, each with processes of its own; one round within the bounds is enough.
// A busy machine can split batches and renew leases, but it cannot do less than is needed.
const rounds = 4

// bounds are upper bounds for 1,000 deliveries. Counts vary a little with timing,
// so the bounds leave room. A split batch exceeds them by far.
type bounds struct {
	// trips are round trips to Postgres, transactions those that write. Periodic
	// work, such as renewals of leases, is allowed on top.
	trips, transactions int64
	// wal is the WAL of a delivery in bytes, with full_page_writes off.
	wal int64
	// copies are messages in the stream DELIVERIES.
	copies int64
	// allocs and allocBytes are those of the whole process for a delivery,
	// including producer, broker and receiver.
	allocs, allocBytes int64
}

// Allowance for periodic work, in each second: five loops poll once or twice, and
// the leases of partitions are renewed once.
const (
	tripsASecond        = 40
	transactionsASecond = 5
)

func TestWhatAThousandDeliveriesTake(t *testing.T) {
	t.Parallel()
	for _, of := range []struct {
		name      string
		fed, wide bool
		bounds    bounds
	}{
		{"each event to one webhook", true, false, bounds{trips: 160, transactions: 110, wal: 5000, copies: 32, allocs: 400, allocBytes: 170_000}},
		{"each event to ten webhooks", true, true, bounds{trips: 140, transactions: 90, wal: 1700, copies: 32, allocs: 260, allocBytes: 120_000}},
		{"by way of the broker to the owner", false, false, bounds{trips: 180, transactions: 130, wal: 5000, copies: 160, allocs: 420, allocBytes: 180_000}},
	} {
		t.Run(of.name, func(t *testing.T) {
			// Not parallel: allocations are counted for the whole process.
			var over []string
			for round := range rounds {
				c := start(t, of.fed)
				c.deliver(warmUp, of.wide) // connections, prepared statements, buffers
				over = c.count(t, of.wide, of.bounds)
				c.stop()
				if over = append(over, c.needless(t)...); len(over) == 0 {
					return
				}
				t.Logf("round %d: %s", round+1, strings.Join(over, ", "))
			}
			t.Errorf("over their bounds in each of %d rounds, in the last one: %s", rounds, strings.Join(over, ", "))
		})
	}
}

// count sends the deliveries of one round. It returns the counts above their
// bounds.
func (c *chain) count(t *testing.T, wide bool, bounds bounds) (over []string) {
	t.Helper()
	eventsBefore, before := c.events, c.read()
	c.deliver(measured, wide)
	after := c.read()
	n, sent := int64(measured), int64(c.events-eventsBefore)
	seconds := int64(after.at.Sub(before.at).Seconds()) + 1
	for _, of := range []struct {
		what       string
		got, bound int64
	}{
		{"round trips", after.trips - before.trips, bounds.trips + tripsASecond*seconds},
		{"transactions that write", after.transactions - before.transactions, bounds.transactions + transactionsASecond*seconds},
		{"bytes of log a delivery", (after.wal - before.wal) / n, bounds.wal},
		{"messages of events", after.messages - before.messages, sent},
		// If the machine stalls and an attempt takes over a second, its lane
		// becomes slow and releases rows.
		{"rows released or fetched", after.released - before.released, 0},
		{"messages of deliveries", after.copies - before.copies, bounds.copies},
		{"allocations a delivery", int64(after.allocs-before.allocs) / n, bounds.allocs},
		{"bytes allocated a delivery", int64(after.bytes-before.bytes) / n, bounds.allocBytes},
	} {
		t.Logf("%s: %d, at most %d", of.what, of.got, of.bound)
		if of.got > of.bound {
			over = append(over, fmt.Sprintf("%s %d, the bound is %d", of.what, of.got, of.bound))
		}
	}
	return over
}

// needless returns what was written since the start beyond need. An event and its outbox row
// are inserted; the outbox row is leased once and deleted. A delivery is inserted
// and updated once with its outcome, besides releases and fetches. No attempt is
// inserted.
func (c *chain) needless(t *testing.T) (over []string) {
	t.Helper()
	released := int(c.read().released)
	rows := c.rows()
	const deliveries = "webhook_subscriber_deliveries"
	need := map[string]int{
		"events inserted": c.events,
		"outbox inserted": c.events, "outbox updated": c.events, "outbox deleted": c.events,
		deliveries + " inserted": c.sent, deliveries + " updated": c.sent,
	}
	for _, table := range []string{"events", "outbox", deliveries, "webhook_delivery_attempts", "event_keys", "messages"} {
		for _, kind := range []string{" inserted", " updated", " deleted"} {
			got, want := rows[table+kind], need[table+kind]
			require.GreaterOrEqual(t, got, want, "%s%s", table, kind)
			if table == deliveries && kind == " updated" {
				want += released
			}
			if got > want {
				over = append(over, fmt.Sprintf("%s%s %d, needed are %d", table, kind, got, want))
			}
		}
	}
	// The time of a webhook's last delivery is updated every few seconds at most.
	if got := rows["webhooks updated"]; got > webhooks*20 {
		over = append(over, fmt.Sprintf("webhooks updated %d, at most %d", got, webhooks*20))
	}
	return over
}
