// Package schema holds the JSON Schema (2020-12) of every event's envelope, a
// file a type: "email.received.json".
//
// The files are made of the Go types in events, events/email and
// events/operational, by `go generate ./events/schema`. They guarantee the fields that they require,
// and leave room for more: a later version may add some. The "data" of types
// that producers hand in through the API is any object.
package schema
