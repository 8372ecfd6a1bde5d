// Package eventtype holds the event types that tenants and operators have made. It owns the table event_types. The
// built-in types are package events' catalogue.
//
// It guarantees:
//
//   - A tenant sees its own types and those of the operator, and nobody else's. Where both have a name, the tenant's own
//     counts for it.
//   - A type that a lookup of [Hold] has found is not deleted before the transaction ends.
//   - A lookup of types takes one statement, whose cost is that of an index for each name. Nothing is cached, so that a
//     type counts from its commit on.
//
// It stores schemas and does not read them: package eventschema checks them, and what producers insert knows only which
// types there are.
package eventtype
