// Package events holds the words that every other package of Fanmail speaks:
// the ids, the catalogue of event types, the [Event] that a producer hands in,
// the [Envelope] that a subscriber receives, and the broker subjects in between.
//
// It guarantees:
//
//   - An id is 16 bytes with a prefix that names its kind; two kinds never
//     mix, since each is a Go type of its own.
//   - An envelope is encoded once, by [Event.Encode] and the database's clock
//     together, and is POSTed byte for byte ever after.
//   - An event with an idempotency key has an id derived from tenant, key and
//     type, so that the same fact accepted twice is one event.
//   - A delivery's id is derived from event, webhook and replay, and begins
//     with the delivery's creation time, so that ids sort by time.
//
// It imports nothing else of this module, so receivers may depend on it.
package events
