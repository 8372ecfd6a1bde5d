// Package kms encrypts and decrypts keysets with a key of AWS KMS, by Tink's client of it.
//
// It guarantees:
//
//   - A request ends within [Timeout], and takes its credentials where the AWS SDK does.
//   - An error says whether the service is away or refuses, and has an entry in the table
//     of faults.
//   - No error contains a credential, a keyset or a part of one.
package kms
