// Package rawmail carries mails through the broker, from SMTP servers without a
// database to the processes that write the outbox.
//
//   - [Publisher] publishes a mail with its SMTP envelope to mail.raw.<node> and
//     returns when the broker has stored it. A mail that is larger than the broker's
//     messages goes to an object store first.
//   - [Queue] returns the mails to the processes that have a database. A mail leaves
//     the broker when it is acknowledged.
//   - [Keeper] copies the addresses that receive into a key-value bucket, and
//     [Directory] asks the bucket.
//
// Other programs may publish the same messages; [Decode] has the format.
package rawmail
