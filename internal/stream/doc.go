// Package stream declares all of Fanmail's JetStream streams and consumers, and encodes
// and decodes their messages.
//
// [Ensure] creates missing streams and updates harmless differences. It refuses a stream
// whose settings could lose data, such as another retention policy or further subjects.
// The error is then a [*MismatchError] that names the remedy.
// If another stream takes the subjects, the error is an [*OverlapError] that names it.
//
// Streams have bounds that fit the account, so that they never fill it.
package stream
