// Package agentwebhook delivers mail to an agent's own webhook: one URL, to which
// each mail for the agent is POSTed as a [Payload]. It holds all SQL on the table
// webhook_deliveries.
//
// It guarantees:
//
//   - [QueueDeliver] inserts a delivery in the transaction that accepts the mail,
//     and makes no attempt. An endpoint therefore can't delay or fail the accepting
//     of mail. A [Deliverer] makes all attempts, usually in another process.
//   - A mail for an agent is one delivery, keyed by its message id. It is attempted
//     until a 2xx comes, its attempts are used up, or [DeliveryTTL] has passed. It
//     is final then, and no later result changes it.
//   - Two deliverers never hold the same delivery at once. If a deliverer dies, its
//     deliveries are claimed again after their leases. No POST starts under a lease
//     that has run out.
//   - Every attempt is made from the stored mail and its event, so each retry
//     carries the same payload, reply_to included. Only one chunk of a raw mail is
//     in memory at a time.
//   - In one process, an agent has one attempt in flight until its endpoint has
//     answered fast, then up to four. Slow attempts have slots of their own, so an
//     endpoint that hangs delays no other. Nothing is shared with the webhooks of
//     subscribers.
//   - [Deliverer.Round] attempts everything that is due and returns when all
//     outcomes are recorded.
//
// POSTs are not signed: an agent's webhook has no secret. The results of the
// sender's authentication are in the X-E2A-Auth headers and in auth_headers.
package agentwebhook
