// Package tenancy owns the tables of tenants and of their API keys.
//
// It guarantees:
//
//   - A key's secret is random, is returned once by [CreateKey], and is stored
//     only as a hash.
//   - A revoked key authenticates nobody from the commit of its revocation on.
//   - [Lock] makes the changes of one tenant run one after the other, so that a
//     limit counted under the lock is exact.
//
// It leaves to its callers who may create or see which tenant or key.
package tenancy
