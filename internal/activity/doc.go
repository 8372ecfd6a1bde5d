// Package activity counts what a dispatcher process did lately, for the operator's view.
//
// It guarantees:
//
//   - A [Recorder] uses bounded memory: totals of one hour, and the most active webhooks,
//     tenants and agents. Nobody who is more active than the others is forgotten.
//   - Counting takes well under a microsecond, and no lock of the scheduler.
//   - [Merge] adds up the answers of all dispatchers, and says whose is missing.
package activity
