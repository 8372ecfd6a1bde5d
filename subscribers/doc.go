// Package subscribers owns the registry of webhooks and their deliveries:
// every query on webhooks, webhook_subscriber_deliveries and
// webhook_delivery_attempts is here.
//
// It guarantees:
//
//   - A webhook sees only events of its own tenant, whatever the caller asks.
//   - [Registry] holds all webhooks in memory and, refreshed inside a
//     transaction, knows every change that was committed before it.
//   - Leasing hands a due row to one caller; renewing a lease succeeds only for
//     its holder.
//   - A final row is never overwritten; a failure counts only for the attempt
//     that it belongs to.
//   - What is told of a webhook or a delivery ([TakeOperationalEvents]) is written in the
//     transaction of the fact, and only where somebody asks for it.
//   - A signing secret leaves the package only through Create and Rotate, and
//     through the [Registry] for signing.
package subscribers
