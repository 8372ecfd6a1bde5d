// Package fanout turns relayed events into deliveries.
//
// It takes event messages in batches, whatever has gathered while the batch
// before was being committed. One transaction takes the events' outbox rows and
// inserts a delivery row for each matching webhook; then one message for each
// partition carries the batch's deliveries to their owners; then the event
// messages are acknowledged.
//
// It guarantees:
//
//   - An event whose outbox row is gone was fanned out already: its message is
//     acknowledged and nothing happens, whatever has become of the webhooks
//     since. Duplicates and resets of the consumer create nothing.
//   - An event matches against every webhook that was committed before the
//     event was.
//   - Nothing is acknowledged before the rows are committed and their messages
//     published. Where publishing fails, the rows' short lease runs out and the
//     dispatcher fetches them from the table.
//
// Of several dispatchers the first in rank takes all messages while it keeps up,
// so that batches stay large.
//
// Rows are committed without waiting for the disk: if Postgres crashes before
// they reach it, so have the outbox rows' deletions, and the relay publishes
// the events again.
package fanout
