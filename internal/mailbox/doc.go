// Package mailbox owns the agents, which are the mail addresses that receive,
// and what they received: messages, raw mail and the mails that are known to
// conversations. It holds all SQL on the tables agents, messages, message_raws
// and conversation_keys.
//
// It guarantees:
//
//   - An address belongs to one tenant. Reads and changes of a tenant never
//     touch another tenant's agents or messages.
//   - Messages and their raw mail are inserted in the caller's transaction. The
//     raw mail is stored once, whatever the number of agents it was for.
//   - A raw mail is read in chunks of [ChunkSize].
//   - Two mails that name the same unknown mail at the same time join one
//     conversation. Conversations are never merged afterwards.
//
// Functions named Queue… add their statements to a batch of the caller and fill
// in their results when the batch is closed, so that accepting a mail costs few
// round trips.
package mailbox
