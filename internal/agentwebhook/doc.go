// Package agentwebhook delivers mail to the webhook that an agent may have of its
// own: one URL, to which each mail for the agent is POSTed as a [Payload]. It
// holds all SQL on the table webhook_deliveries.
//
// It guarantees:
//
//   - [QueueDeliver] inserts a delivery in the transaction that accepts the mail.
//     No attempt is made there, so an endpoint never fails or delays who accepts
//     mail. All attempts are made by a [Deliverer], usually in another process.
//   - A mail is one delivery, with the message id as its key. It is sent until a
//     2xx comes, its attempts are used up, or [DeliveryTTL] is over. Then it is
//     final, and nothing overwrites it. A failure counts only for the attempt that
//     it belongs to.
//   - Two deliverers never hold one delivery at once. The deliveries of one that
//     dies are claimed again after their leases. Nothing is sent under a lease that
//     has run out.
//   - Every attempt is made from the stored mail and its event, so retries carry
//     the same payload, reply_to included. A chunk of a raw mail is in memory at a
//     time.
//   - An agent has at most four attempts in flight in one process, and one until
//     its endpoint has answered fast. Slow attempts have slots of their own, so
//     endpoints that hang delay no others. Nothing of it is shared with the
//     webhooks of subscribers.
//   - [Deliverer.Round] attempts everything that is due and returns when all
//     outcomes are recorded.
//
// POSTs are not signed: an agent's webhook has no secret. The results of the
// sender's authentication are in the X-E2A-Auth headers and in auth_headers.
package agentwebhook
