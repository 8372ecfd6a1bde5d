// Package relay publishes the outbox to the broker's stream MAIL_EVENTS. It is
// the publisher's work.
//
// It guarantees:
//
//   - Every event in the outbox is published, under its id as the message id, in
//     the order of the sequence as far as a round sees it.
//   - Relaying removes no outbox row. If the broker forgets an event before it is
//     fanned out, its lease runs out and it is published again, under a new
//     message id that the broker's duplicate window can't swallow.
//   - If publishing fails, the leases are released at once, which tells the
//     dispatchers to take the events past the broker. The relay then tries the broker
//     with one event at a time, until it takes one.
//   - Any number of relays may run; a row is leased to one at a time.
//   - [Relay.Run] waits for a database or broker that is down.
package relay
