// Package agentwebhook owns the agents, the mail addresses that receive, and the
// webhook that an agent may have of its own: one URL, to which each mail for
// it is POSTed as a [Payload]. The statements on agents and
// webhook_deliveries are here.
//
// It guarantees:
//
//   - [QueueDeliver] writes a delivery down in the transaction that accepts
//     the mail, and no attempt happens there: an endpoint never fails or holds
//     up who accepts mail. The first attempt, like every one after it, is made
//     by a [Deliverer] in another process.
//   - A mail is one delivery, keyed by its message id. It is sent until a 2xx
//     comes, its attempts are used up, or its 48 hours are over; then it is
//     final, and nothing overwrites it. A failure counts only for the attempt
//     that it belongs to.
//   - Two deliverers never hold one delivery at once. One that dies gives its
//     deliveries back by the end of their leases.
//   - Every attempt, retries too, is made from the stored mail and its event,
//     so that all carry the same payload, reply_to included. Of a raw mail a
//     small part is in memory at a time.
//   - An agent has at most four attempts in flight in one process, and one
//     until its endpoint has taken one fast. Slow attempts have slots of their
//     own, so endpoints that hang hold up no others. None of it is shared with the
//     webhooks of subscribers.
//
// POSTs are not signed: an agent's webhook has no secret. What is known of the
// sender is in the X-E2A-Auth headers and in auth_headers.
package agentwebhook
