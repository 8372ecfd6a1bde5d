// Package ingest takes mail and events in: [Server] over SMTP, [Intake] over
// the broker's subject mail.intake.<tenant>.
//
// Of SMTP it guarantees:
//
//   - 250 is answered only after the commit of one transaction that holds the
//     raw mail, a message, an event and an outbox row for each agent addressed.
//     Where the database is away the answer is 451 and nothing was written.
//   - An address that is no agent's is refused with 550 at RCPT, a mail over
//     the limit with 552, at MAIL where the client announced its size.
//   - The same mail accepted twice for the same agent is one event: same
//     Message-ID, same author's header fields, same body. Trace fields that
//     relays add do not count. Two mails of one Message-ID that differ are two.
//     A mail without a Message-ID is the same only byte for byte, and only
//     where a Date or Received field makes that more than coincidence.
//   - A mail is never refused for its content. What cannot be parsed is
//     delivered as far as it could be read, with parse_error set and its raw
//     bytes kept exactly as they were received. Parsing is bounded in time,
//     parts and depth.
//   - Mails of a tenant that answer each other are one conversation, also where
//     each names only the one before, and where two arrive at the same time.
//   - An event always fits an envelope: what does not is cut, and the field is
//     named in "truncated".
//   - An agent's event names no other agent's recipient addresses.
//
// Of the subject it guarantees:
//
//   - A message is acknowledged after its event is committed, and redelivery of
//     it makes no second event.
//   - A message that is no event, names an unknown tenant or an agent that the
//     tenant lacks goes to the dead-letter subject with the reason, and holds
//     up nothing else.
//   - While the database or the broker is away nothing is acknowledged and
//     nothing is given up.
//
// The relay of the outbox and everything after it is left to others.
package ingest
