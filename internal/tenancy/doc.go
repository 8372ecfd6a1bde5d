// Package tenancy owns the tables of tenants and of their API keys.
//
// It guarantees:
//
//   - A key's secret is random, is returned once by [CreateKey], and is stored
//     only as a hash.
//   - A key does not authenticate any more once its revocation has committed.
//   - [Lock] makes the changes of one tenant run one after the other, so that a
//     limit counted under the lock is exact.
//
// Callers decide who may create or see a tenant or a key.
package tenancy
