// Package eventschema checks JSON Schemas of own event types, and the data of events against them. Its schemas are those
// of draft 2020-12.
//
// A tenant writes the schema and the data, so both may be hostile. The package guarantees:
//
//   - No schema is fetched: a $ref leads to a place in the same schema. A schema that refers to itself is refused, and so
//     are $dynamicRef and $recursiveRef: then no data is compared without an end.
//   - Comparing takes bounded time and memory. A schema has at most [MaxParts] parts, after its references are followed,
//     and [MaxInstructions] of regular expressions. Data that would take more than [MaxSteps] is refused.
//     Comparisons that take long take turns.
//   - Regular expressions are RE2's, whose time is linear.
//   - An error names the place in the data as a JSON pointer. It shows names of fields, and no values.
//
// "format" and "contentEncoding" are annotations, as the draft says, and are not checked.
package eventschema
