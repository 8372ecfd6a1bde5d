// Package keyring encrypts secrets that are stored in the database.
//
// It guarantees:
//
//   - [Keyring.Seal] encrypts with AES-256-GCM under the primary key of a Tink keyset.
//   - A sealed value opens only at the [Place] for which it was sealed: table, column
//     and row are authenticated with it.
//   - A stored value says itself whether it is sealed, and with which key. Values
//     that were stored in clear, before there was a key, stay readable.
//   - No error contains a key or a secret.
//
// A nil Keyring, or the zero value, has no key: Seal stores in clear, and Open reads
// what is in clear.
package keyring
