package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/test/chaos/promise"
)

// sabotage is a way to break the product, and the promise that it breaks.
type sabotage struct {
	patches  []patch
	faults   []string // under which the breach shows
	duration time.Duration
	breaks   promise.Promise
}

var sabotages = map[string]sabotage{
	// SMTP answers 250 while the transaction still runs.
	"ack-before-commit": {
		patches: []patch{{
			"internal/ingest/accept.go", "	err = s.commit(ctx, sub)\n",
			"	sub.made = 1\n	go func() { time.Sleep(200 * time.Millisecond); late := *sub; _ = s.commit(context.WithoutCancel(ctx), &late) }()\n",
		}},
		faults: []string{"kill@ingest", "postgres.immediate"}, duration: 40 * time.Second, breaks: promise.NothingLost,
	},
	// An edge answers 250 while it still publishes.
	"ack-before-publish": {
		patches: []patch{{
			"internal/ingest/publish.go", "	switch err := b.publisher.Publish(ctx, &out); {\n",
			"	out.Raw = append([]byte(nil), out.Raw...)\n	go func() { time.Sleep(200 * time.Millisecond); _ = b.publisher.Publish(context.WithoutCancel(ctx), &out) }()\n	switch err := error(nil); {\n",
		}},
		faults: []string{"kill@edge", "nats.two nodes"}, duration: 40 * time.Second, breaks: promise.NothingLost,
	},
	// The relay's lease never ends, and a failed round releases nothing.
	"publish-without-retry": {
		patches: []patch{
			{"outbox/lease.go", "now() + make_interval(secs => least($2 * 2 ^ least(o.publishes, 10), $3))", "'infinity'::timestamptz + 0 * make_interval(secs => $2::float8 + $3::float8)"},
			{"outbox/lease.go", "SET leased_until = '-infinity'", "SET leased_until = 'infinity'"},
		},
		faults: []string{"nats.wipe", "nats.two nodes", "kill@publisher-1", "kill@publisher-2"}, duration: 40 * time.Second, breaks: promise.NothingLost,
	},
	// A POST may begin under a lease that ends before it.
	"lease-too-short": {
		patches: []patch{
			{"subscribers/delivery.go", "LeaseDuration = 5 * time.Minute", "LeaseDuration = 2 * time.Second"},
			{"subscribers/delivery.go", "FirstLease = 30 * time.Second", "FirstLease = 2 * time.Second"},
			{"internal/dispatch/dispatcher.go", "LeaseLeft: AttemptTimeout + time.Second", "LeaseLeft: 0"},
		},
		faults: []string{"kill@dispatcher-1", "kill@dispatcher-2", "pause@dispatcher-2"}, duration: 50 * time.Second, breaks: promise.LeaseHolds,
	},
	// Outcomes overwrite the row in any state.
	"outcomes-without-guard": {
		patches: []patch{
			{"subscribers/outcome.go", "d.created_at = o.created_at AND d.status = 'pending' AND (d.attempts", "d.created_at = o.created_at AND (true OR d.attempts"},
			{"subscribers/outcome.go", "AS o (id, created_at, code)\nWHERE d.id = o.id AND d.created_at = o.created_at AND d.status = 'pending'", "AS o (id, created_at, code)\nWHERE d.id = o.id AND d.created_at = o.created_at"},
		},
		faults: []string{"long pause", "receiver.hang", "postgres.cut"}, duration: 70 * time.Second, breaks: promise.FinalStays,
	},
	// The outbox row is deleted once the broker has the event.
	"outbox-row-deleted-early": {
		patches: []patch{
			{"internal/relay/relay.go", "	faults.At(faults.OutboxPublished)\n", "	tenants, seqs := make([]events.TenantID, len(entries)), make([]int64, len(entries))\n	for i := range entries {\n		tenants[i], seqs[i] = entries[i].TenantID, entries[i].Seq\n	}\n	_, _ = r.pool.Exec(ctx, `DELETE FROM fanmail.outbox AS o USING unnest($1::uuid[], $2::bigint[]) AS u (tenant_id, seq) WHERE o.tenant_id = u.tenant_id AND o.seq = u.seq`, tenants, seqs)\n"},
			{"fanout/commit.go", "if !fresh {", "if !fresh && false {"},
		},
		faults: []string{"nats.wipe", "flood", "postgres.immediate"}, duration: 40 * time.Second, breaks: promise.NothingLost,
	},
	// Nobody takes events past a broker that takes none.
	"broker-alone": {
		patches: []patch{{"fanout/past.go", "	if !first {\n		return nil\n	}\n", "	if first || !first {\n		return nil\n	}\n"}},
		faults:  []string{promise.AccountFull}, duration: 5 * time.Second, breaks: promise.GoesOn,
	},
	// A line of a mail costs twice as much for each open part, and no budget ends it.
	"nesting-doubles": {
		patches: []patch{{
			"internal/mailparse/structure.go", "		if !b.spend(end - pos) {\n			break\n		}\n		s.line(pos, end)\n",
			"		for step := 0; step < 1<<len(s.open); step++ {\n			_ = bytes.Count(raw[pos:end], raw[:1])\n		}\n		s.line(pos, end)\n",
		}},
		faults: []string{attackBombs}, duration: 3 * time.Second, breaks: promise.Bounded,
	},
	// One client may have all connections, and nobody gives one up.
	"connections-unshared": {
		patches: []patch{{
			"internal/ingest/gate.go", "	if victim == nil || !victim.evict(errIdle) {\n", "	if victim == nil || victim != nil {\n",
		}},
		faults: []string{attackHoarders}, duration: 3 * time.Second, breaks: promise.Unhindered,
	},
	// Unfinished mails stay in memory, and nobody counts them.
	"mails-in-memory": {
		patches: []patch{
			{"internal/ingest/spool.go", "spoolAfter = 64 << 10", "spoolAfter = 64 << 20"},
			{"internal/ingest/transfers.go", "	if t.evicted || n <= 0 {\n", "	if true || t.evicted || n <= 0 {\n"},
		},
		faults: []string{attackHoarders}, duration: 3 * time.Second, breaks: promise.Bounded,
	},
	// A connection may be refused for ever, at full speed.
	"refusals-go-on": {
		patches: []patch{
			{"internal/ingest/client.go", "maxErrors   = 20 ", "maxErrors   = 1 << 30 "},
			{"internal/ingest/client.go", "freeErrors  = 10 ", "freeErrors  = 1 << 30 "},
		},
		faults: []string{attackProbes}, duration: 3 * time.Second, breaks: promise.Bounded,
	},
	// A body may take for ever.
	"bodies-without-deadline": {
		patches: []patch{{"internal/api/reading.go", "	_ = b.control.SetReadDeadline(time.Now().Add(bodyTimeout))\n", "	_ = bodyTimeout\n"}},
		faults:  []string{attackSlow}, duration: 3 * time.Second, breaks: promise.Bounded,
	},
	// A refusal reads the body first, within its deadline.
	"refusals-after-bodies": {
		patches: []patch{
			{"internal/api/handler.go", "		if o.body != nil && !o.body.ended {\n", "		if o.body != nil && o.body.ended {\n"},
			{"internal/api/reading.go", "	if !b.ended {\n		_ = b.control.SetReadDeadline(time.Now())\n", "	if !b.ended && bodyTimeout == 0 {\n		_ = b.control.SetReadDeadline(time.Now())\n"},
		},
		faults: []string{attackSlow}, duration: 3 * time.Second, breaks: promise.Bounded,
	},
	// A webhook's window has no limit.
	"cap-ignored": {
		patches: []patch{{"internal/dispatch/scheduler/lane.go", "return max(1, min(l.webhook.MaxInFlight, int(l.window.size)))", "return 256"}},
		faults:  []string{"receiver.hang"}, duration: 30 * time.Second, breaks: promise.CapsHold,
	},
}

// sabotage breaks the product in one way or in all. It reports whether each breach was caught by the
// right promise.
func (f *flags) sabotage(ctx context.Context) (bool, error) {
	names := []string{f.Sabotage}
	if f.Sabotage == "all" {
		names = slices.Sorted(maps.Keys(sabotages))
	}
	var lines []string
	good := true
	for _, name := range names {
		s, ok := sabotages[name]
		if !ok {
			return false, fmt.Errorf("no sabotage is named %q; there are %s", name, strings.Join(slices.Sorted(maps.Keys(sabotages)), ", "))
		}
		p := plan{seed: max(f.Seed, 1), duration: s.duration, only: s.faults, patches: s.patches}
		if f.Duration > 0 {
			p.duration = f.Duration
		}
		o, err := f.perform(ctx, p)
		if err != nil {
			return false, fmt.Errorf("sabotage %s: %w", name, err)
		}
		fmt.Print(o.report())
		broken := o.Broken(s.breaks)
		found := fmt.Sprintf("caught: %d × %q", broken, s.breaks)
		if broken == 0 {
			good, found = false, fmt.Sprintf("NOT CAUGHT: %q was kept", s.breaks)
		}
		lines = append(lines, fmt.Sprintf("%-26s %s", name, found))
	}
	fmt.Printf("\n%s\n", strings.Join(lines, "\n"))
	return good, nil
}
