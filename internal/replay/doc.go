// Package replay sends past events again, on request. It owns the tables
// replays and replay_deliveries.
//
// A replay reads the events of a window from MAIL_EVENTS, by a consumer that is
// positioned at the window's beginning, matches them against the webhooks as
// they are now, and makes deliveries of them, which the dispatchers send like
// any other. What the stream no longer has is read from the events table.
//
// It guarantees:
//
//   - Every event of the window that was fanned out before the replay began is
//     looked at. The events that the stream gave are counted against the table,
//     and where one is missing the table is read.
//   - A replay of what was missed sends an event to a webhook only if the
//     webhook has had no success with it and no delivery of it is pending, even
//     if several such replays run at once. An event that has yet to be fanned
//     out is left to the fan-out.
//   - A delivery's id is derived from event, webhook and replay, so that a
//     replay makes it once, whatever is read twice.
//   - Progress is part of the transactions that make it: a replay whose process
//     dies goes on where it was, on any dispatcher, and one process at a time
//     works on it.
//   - A webhook has at most a second's worth of replayed deliveries waiting for
//     their first attempt, and a process enqueues at most [Options.Rate] a
//     second. In their lane they wait behind what is new.
//   - A webhook in strict order is given the events in the order of their
//     sequence. That order puts them ahead of its new events.
//   - One webhook that does not answer holds up no other.
//
// A cancelled replay's deliveries that were not sent end as failed, with the
// error "cancelled"; one that is in a lane or on the wire at that moment may
// still arrive.
package replay
