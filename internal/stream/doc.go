// Package stream declares all of Fanmail's JetStream streams and consumers, and encodes
// and decodes their messages.
//
// [Ensure] creates missing streams and updates harmless differences. It refuses a stream
// whose settings could lose data, such as another retention policy or further subjects.
// The error is then a [*MismatchError] that names the remedy.
package stream
