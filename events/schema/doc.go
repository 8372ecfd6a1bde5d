// Package schema holds the JSON Schema (2020-12) of every event's envelope, one file for each type, such as
// "email.received.json":
//
//	definition, err := schema.Files.ReadFile("email.received.json")
//
// `make generate` writes the files from the Go types in events, events/email and events/operational. A schema names
// the fields that every envelope has. It allows other fields, because a later version may add some. The "data" of
// types that producers insert through the API is any object.
package schema
