// Package subscribers manages webhooks and their deliveries. It owns the tables
// webhooks, webhook_subscriber_deliveries and webhook_delivery_attempts: all SQL
// on them is here.
//
// The package has three parts:
//
//   - [Store] is for people and programs that manage webhooks: create, update,
//     delete, read the history, retry, test, and redeliver.
//   - [Registry] holds all webhooks in memory. The fan-out asks it which webhooks
//     get an event, and the dispatcher asks it where to send and how to sign.
//   - [QueueInsert], [FetchDue], [WriteOutcomes] and [FindPending] are the engine's
//     statements on deliveries. [ImportDeliveries] and [Store.ImportWebhooks] are for
//     what comes from another system.
//
// Most programs need only the root package, whose client has the methods of
// [Store]. A program that uses this package itself begins like this:
//
//	store := subscribers.NewStore(pool, subscribers.Limits{})
//	hook, secret, err := store.Create(ctx, tenant, subscribers.Webhook{
//		URL: "https://example.com/hook", Events: []events.Type{events.EmailReceived}, Enabled: true,
//	})
//	if err != nil {
//		return err
//	}
//	subscribers.WakeRegistry(nc) // other processes read the change at once
//
// Show the secret to the webhook's owner: it cannot be read again.
//
// The package guarantees:
//
//   - A webhook gets only events of its own tenant, and a [Store] shows a tenant
//     only its own webhooks and deliveries.
//   - A [Registry] that is refreshed inside a transaction knows every change that
//     was committed before the transaction's snapshot.
//   - A lease of a due row goes to one caller. Only its holder can renew or release
//     it.
//   - A final row is never overwritten, except by a retry on request. A failure
//     counts only for the attempt that it belongs to.
//   - An operational event about a webhook or a delivery is recorded in the
//     transaction of the change, and only if a webhook subscribes to its type.
//   - A signing secret leaves the package only through [Store.Create] and
//     [Store.Rotate]. [Entry.Signer] signs with it and does not show it.
package subscribers
