// Package audit owns the table of the audit log: who changed what, from where and when.
//
// It guarantees:
//
//   - [Insert] writes in the transaction of the change: there is no change without its
//     entry, and no entry without its change. A delivery on request is the exception: a
//     dispatcher makes it, so its entry is committed before it is asked for.
//   - Nothing here deletes an entry; [RetentionRules] drops whole days. The erasure of a tenant takes out of its entries
//     what was changed ([TenantRows]), and nothing else changes one.
//   - What it stores as JSON has "***" in place of each value that can be a secret.
package audit
