// Package mailauth says who sent a mail, as far as DNS and signatures tell:
// SPF, DKIM signature by signature, DMARC, and what an ARC chain claims.
//
// It guarantees:
//
//   - [Checker.Check] ends within the checker's timeout, whatever DNS does, and
//     asks no more than a fixed number of questions. It never fails: what
//     could not be found out is "temperror" or "permerror".
//   - A failure of DNS (a time-out, SERVFAIL, REFUSED, a lost packet) is
//     "temperror" and never counts as an answer. DMARC says fail only where
//     no check that might have made it pass met such a failure.
//   - The work on one mail is bounded: a header or a body that would cost the
//     verifier more than its size warrants is not verified, and the result
//     says so.
//   - A DKIM signature that covers a part of the body only (l=) never passes.
//
// The receiver decides what the results mean for the mail.
package mailauth
