// Package mailauth authenticates the sender of a mail with SPF, DKIM and DMARC. It also
// reports what an ARC chain claims.
//
// It guarantees:
//
//   - [Checker.Check] ends within the checker's timeout and makes a bounded number of
//     DNS lookups. It returns no error: a check without an answer is "temperror" or
//     "permerror".
//   - A DNS failure (a timeout, SERVFAIL, REFUSED, a lost packet) is "temperror". It
//     never counts as "no record". DMARC is "fail" only if no DNS failure could have
//     hidden a pass.
//   - The work on one mail is bounded. The DKIM signatures of a mail over a limit are
//     not verified; they are "permerror", and the reason names the limit.
//   - A DKIM signature of only a part of the body (l=) never passes.
//
// The results are facts for the receiver. This package rejects no mail.
package mailauth
