// Package replay sends past events again, on request. It owns the tables replays
// and replay_deliveries.
//
// A replay reads the events of a time window from the stream MAIL_EVENTS, or from
// the events table where the stream no longer has them. It matches them against
// the webhooks as these are now and inserts deliveries, which the dispatchers
// attempt like any other.
//
// It guarantees:
//
//   - It looks at every event of the window that was fanned out before the replay
//     began. It compares the number of events from the stream with the table, and
//     reads the table if one is missing.
//   - In mode [Missed] it sends an event to a webhook only if no delivery of the
//     event to the webhook has succeeded or is pending, even if several such
//     replays run at once. It leaves events that are not fanned out yet to the
//     fan-out.
//   - It inserts a delivery once, however often it reads the event: the delivery's
//     id is derived from event, webhook and replay.
//   - It stores its progress in the transactions that make the progress. If its
//     process dies, another dispatcher continues. One process at a time works on a
//     replay.
//   - A webhook has at most as many replayed deliveries waiting for their first
//     attempt as it finishes in a second. A process enqueues at most
//     [Options.Rate] deliveries a second. In their lane they wait behind new
//     deliveries.
//   - A strict webhook gets the events in the order of their sequence, before its
//     new events.
//   - A webhook that does not answer does not hold up the other webhooks.
//
// When a replay is cancelled, its pending deliveries end as failed, with the error
// "cancelled". A delivery that is in a lane or being sent at that moment may still
// arrive.
package replay
