// Package mailparse reads a raw mail: its addresses, date, texts, attachments, and what its author wrote above the mail
// that he quotes.
//
// It guarantees:
//
//   - It reads what mail programs read, also from mail that breaks the rules, and says what it could not read. It never
//     fails.
//   - Its work is linear in the size of the mail. Depth, parts and header bytes are bounded before it descends, and every
//     loop over bytes of the mail spends from one budget. [ReadAttachment] has the same budget as [Parse].
//   - Every string that it returns is UTF-8 without NUL, except the fields of [Header], which are as received.
//   - The raw mail is never changed.
//
// docs/explanation/decisions/0004-mail-parser.md says why it is not a MIME library. What becomes of a mail, and how
// much of it fits an event, is not part of this package.
package mailparse
