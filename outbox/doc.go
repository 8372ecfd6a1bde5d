// Package outbox accepts events inside the caller's own transaction. It owns the
// tables outbox, events, event_keys and strict_tenants: all SQL on them is here.
//
// It guarantees:
//
//   - [Insert] and [InsertMany] write an event and its outbox row in the caller's
//     transaction. If that commits, Fanmail delivers the event; if it rolls back,
//     nothing has happened.
//   - An outbox row means "not fanned out yet". Only the transaction that inserts
//     the event's deliveries deletes it ([QueueTake]).
//   - Two inserts of one tenant, idempotency key and type within 30 days are one
//     event.
//   - The inserts of a strict tenant ([MarkStrict]) hold a lock until their
//     transaction ends, so that its sequence numbers follow its commit order.
//   - [Lease] gives a waiting row to one caller at a time. A lease that runs out
//     makes the row available again.
//
// Inserts send no NOTIFY. Call [Wake] after the commit: it is a hint to the
// publisher, which polls as well.
package outbox
