// Package datafilter tells whether the data of an event meets conditions, such as
//
//	{"from.address": {"prefix": "ann@"}, "amount": {"gte": 10, "lt": 100}, "kind": "order"}
//
// Each member is a condition: a path into the data, and what one value there must be. A text, a number, true or false
// stands for a value that is equal. docs/reference/filters.md describes the form.
//
// It guarantees:
//
//   - One pass reads the values for any number of filters. It decodes no other values, and costs about as much as
//     reading the bytes.
//   - Numbers are compared as they are written, whatever their size: none is rounded.
//   - A condition compares at most [MaxValues] values of an event.
//   - No data makes it fail. What follows bytes that are not JSON is not read.
package datafilter
