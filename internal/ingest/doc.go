// Package ingest accepts mail and events: [Server] over SMTP, [Intake] over the
// broker's subject mail.intake.<tenant>.
//
// SMTP guarantees:
//
//   - The reply is 250 only after the commit of one transaction with the raw mail,
//     and a message, an event and an outbox row for each addressed agent. If the
//     database is away the reply is 451 and nothing is written. The transaction may
//     hold mails of several sessions; a mail that the database refuses, or that has to
//     wait for others, delays and spoils none of them. If the answer to its COMMIT is
//     lost, a mail is tried again under the same keys, and counts once for the quota.
//   - A mail over 64 KiB is received into a temporary file. It is in memory only while
//     it is parsed, within a bound for all such mails.
//   - An unknown address is refused with 550 at RCPT. If its agent is deleted after
//     that, the mail is refused after DATA: the transaction reads the agents again. A mail over the limit is
//     refused with 552, at MAIL already if the client announced its size.
//   - The same mail accepted twice for the same agent is one event. Mails are the
//     same if their Message-ID, the header fields of the author and the body are
//     equal; trace fields of relays do not count. Different mails with one Message-ID
//     are two events. Mails without a Message-ID are the same only if they are equal
//     byte for byte and a Date or Received field makes a coincidence unlikely.
//   - A mail is never refused for its content. A mail that cannot be parsed is
//     delivered as far as it could be read, with parse_error set. Its raw bytes are
//     kept exactly. Parsing is bounded in work, parts and depth (package mailparse).
//   - Mails of a tenant that answer each other are one conversation, also if each
//     names only the previous one, or if two arrive at the same time.
//   - An event always fits an envelope: a field that does not fit is cut and named in
//     "truncated".
//   - An agent's event does not name the recipient addresses of other agents.
//
// The intake subject guarantees:
//
//   - A message is acknowledged after its event is committed. If it is redelivered,
//     it makes no second event.
//   - A message goes to the dead-letter subject, with the reason, if it is not an
//     event, or if it names an unknown tenant or agent. It does not delay others.
//   - While the database or the broker is away, nothing is acknowledged and nothing
//     is dropped.
//
// Relaying the outbox, and everything after that, is not part of this package.
package ingest
