// Package erasure removes mail for good: a message, all mail from and to an address, or all that a tenant has, and the
// tenant. It owns the tables of what is to be erased.
//
// A [Worker] removes the rows in batches. Each batch commits with its place and its counts, so that a crash repeats
// nothing and leaves nothing out. Then the worker waits for [Settle]: by then what a process had in flight has reached a
// table or a stream, and messages of DELIVERIES are gone. It goes through the newest events again, removes the messages of
// MAIL_EVENTS and the blobs, and, after another such wait, what was written late about the events.
//
// It guarantees:
//
//   - What is removed belongs to the tenant of the erasure, and is what the erasure names.
//   - An event that is not fanned out is fanned out before it is removed, or never.
//   - A raw mail that a message of somebody else names stays.
//   - An erasure that has ended holds no address. What it removed is counted by kind.
//   - Several processes may run workers: one works on an erasure at a time.
//
// Of a tenant, the owner of each table says how its rows are deleted ([Options].Tables).
//
// It leaves idempotency keys, which hold hashes, so that a mail that is sent again does not come back, the hashes by which
// conversations are found, and the audit log.
package erasure
