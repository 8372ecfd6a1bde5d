// Package operational holds the "data" of the events that Fanmail tells about
// itself, as Go types that producer and receiver share. The JSON Schemas in
// events/schema are made of them.
//
// It guarantees that, within a schema version, fields are only ever added: a
// receiver that ignores what it does not know keeps working. It imports nothing
// of this module.
package operational
