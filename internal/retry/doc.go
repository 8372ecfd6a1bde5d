// Package retry says when a delivery is attempted again: the default schedule, and
// the policies that webhooks bring along. Every schedule is a [backoff.BackOff].
//
// It guarantees:
//
//   - The wait before an attempt depends on the stored numbers of attempts and on
//     Retry-After alone, so that any process continues the schedule of any other.
//   - A policy that [Policy.Validate] accepts ends: it has a number of attempts, and
//     its waits together stay within [MaxTotal].
package retry
