// Package counts guards against regressions with counts instead of times. It
// sends 1,000 deliveries through the whole chain, from the outbox to the recorded
// outcome, and bounds what they take: rows written, messages published,
// transactions, round trips, bytes of Postgres's WAL, and allocations. A change
// that splits a batch multiplies one of these counts.
package counts
