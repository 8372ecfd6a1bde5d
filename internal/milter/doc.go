// Package milter asks mail filters that speak the milter protocol, such as rspamd, clamav-milter and OpenDKIM, what to
// do with a mail. Fanmail is the client of that protocol, as Postfix and Sendmail are.
//
//   - [Chain] holds the milters in the order in which they are asked. Each sees the mail as the ones before it have
//     changed it.
//   - [Transaction] follows one SMTP transaction: [Chain.Begin] at MAIL, [Transaction.Recipient] at RCPT and
//     [Transaction.Content] after DATA. Each transaction has connections of its own, so that a milter that fails spoils
//     one mail.
//   - [Mail] is the mail: its header is in memory, and the rest is read in chunks from where it was received.
//   - [Refusal] is a milter's own answer, and [Failure] is the error of a milter that gave none.
//
// Milters are programs of others and may be broken. The package bounds how long they may take and how much they may
// answer. It refuses answers that would break the mail: a header field with a line end inside, or a change that was not
// agreed on. Such an answer is a [Failure] and changes nothing.
package milter
