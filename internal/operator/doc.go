// Package operator answers what an operator asks of the whole system: what it does, who is most active, who fails, and
// what is wrong.
//
// It guarantees:
//
//   - An answer costs the same however many tenants, webhooks and rows there are. Every read has a bound.
//   - Dispatchers know rates and lanes, Postgres knows rows. [View] asks all dispatchers that are alive, by NATS, and
//     waits for at most two seconds. An answer names the dispatchers that gave none.
//   - Without the broker an answer has what Postgres knows.
//   - Many readers cost as much as one: an answer is kept for a second.
package operator
