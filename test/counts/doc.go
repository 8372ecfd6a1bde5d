// Package counts holds a guard against regressions that time can't blur: what
// the whole chain, from the outbox to the recorded outcome, does for 1,000
// deliveries, in counts. Rows written, messages published, transactions, round
// trips, bytes of Postgres's log and allocations are bounded from above; a
// change that breaks a batch up multiplies one of them.
package counts
