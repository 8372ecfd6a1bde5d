// Package outbox takes events in and relays them to the broker.
//
// [Insert] and [InsertMany] write an event and its outbox row in the caller's
// own transaction: when that commits, the event is Fanmail's to deliver, and
// when it rolls back, nothing ever happened. An outbox row means "not fanned
// out yet"; the fan-out takes it in the transaction that makes the delivery
// rows, and nobody else removes it.
//
// [Relay] leases outbox rows and publishes their events, in the order of the
// outbox sequence as far as it sees them, with the event's id as the message
// id. It leaves the row: where the broker forgets the event, the lease runs
// out and the event is published again. Any number of relays may run.
//
// Inserts of a tenant with strict webhooks take a lock of that tenant until
// their transaction ends, so that the tenant's sequence and commit order agree.
// Inserts send no NOTIFY; [Wake] is a hint over the broker, to be given after
// the commit, and the relay polls besides.
package outbox
