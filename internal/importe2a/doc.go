// Package importe2a brings what an e2a database holds to Fanmail: tenants, API keys, agents, webhooks with their
// secrets, and the events, mails and deliveries of the last 30 days. It owns the tables imports and imported_rows.
//
// It guarantees:
//
//   - It only reads e2a's database, in one snapshot (repeatable read) for each pass.
//   - A pass may be repeated at any time, also after it was killed. What is here stays as it is, unless e2a changed it
//     since the last pass. Each page of at most [pageRows] rows is a transaction of its own.
//   - Ids that are 32 hex digits stay. Others are derived from the text there.
//   - The delivery of an event to a webhook gets the id that Fanmail derives for it, so that replays know it.
//   - An event that e2a has not fanned out goes through the outbox with its envelope as it is. One that is too large for
//     the broker is fanned out by the import itself.
//   - While e2a runs ([Options.Follow]), what it will still send stays with it: no delivery is sent by both.
package importe2a
