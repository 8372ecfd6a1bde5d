// Package stream declares Fanmail's JetStream streams and consumers, all of
// them, in one place.
//
// [Ensure] creates what is missing and updates what differs harmlessly. What
// differs in a way that would lose data (a stream of another retention policy,
// one that takes other subjects, or one that no longer keeps what it should)
// is refused with a [*MismatchError] that says what to do.
package stream
