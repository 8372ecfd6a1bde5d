// Package schema_test generates the JSON Schemas of events/schema from the Go types of events, and checks that they
// accept the golden envelopes.
package schema_test
