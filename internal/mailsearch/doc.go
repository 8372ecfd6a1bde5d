// Package mailsearch finds mails by sender, recipient and subject in the envelopes of events.
//
// An envelope is JSON: Fanmail's own, that of another producer, or an imported one. In all of them the mail is the
// member "data". An address may be a string, an object with "address" or "email", or a list of these.
//
// It guarantees:
//
//   - Only the members that a search names are decoded. The others, such as the text of a mail, are skipped, so that a
//     search costs about as much as reading the bytes.
//   - Bytes that are not JSON match nothing. No input makes it fail.
package mailsearch
