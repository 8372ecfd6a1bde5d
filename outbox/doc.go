// Package outbox inserts events inside the caller's own transaction. A program that
// only produces events needs this package and no other:
//
//	tx, err := pool.Begin(ctx)
//	if err != nil {
//		return err
//	}
//	defer tx.Rollback(ctx)
//	// Change your own tables in tx here.
//	id, err := outbox.Insert(ctx, tx, events.Event{
//		TenantID: tenant, Type: events.EmailReceived, Data: json.RawMessage(`{"subject":"hello"}`),
//	})
//	if err != nil {
//		return err
//	}
//	if err := tx.Commit(ctx); err != nil {
//		return err
//	}
//	outbox.Wake(nc) // optional: the event is published at once
//
// The database must have Fanmail's schema; the root package's Migrate creates it.
// [Insert], [InsertMany], [Wake], [Waker] and [MaxInsert] are for producers. The other
// functions are for Fanmail's own processes. The package owns the tables outbox,
// events, event_keys, strict_tenants and closed_tenants: all SQL on them is here.
//
// The package guarantees:
//
//   - [Insert] and [InsertMany] write an event and its outbox row in the caller's
//     transaction. If it commits, Fanmail delivers the event. If it rolls back,
//     nothing was written.
//   - An outbox row means "not fanned out yet". Only the transaction that inserts
//     the event's deliveries deletes it ([QueueTake]).
//   - Two inserts of one tenant, idempotency key and type within 30 days are one
//     event.
//   - The inserts of a strict tenant ([MarkStrict]) hold a lock until their
//     transaction ends, so that its sequence numbers follow its commit order.
//   - [Lease] gives a waiting row to one caller at a time. A lease that runs out
//     makes the row available again.
//
// Inserts send no NOTIFY. The publisher polls the outbox, and [Wake] spares the wait
// for its next poll.
package outbox
