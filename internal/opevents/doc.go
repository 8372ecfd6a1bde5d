// Package opevents turns facts about webhooks and deliveries into operational
// events: webhook.disabled, webhook.recovered and delivery.exhausted.
//
// It guarantees:
//
//   - A fact that was committed becomes one event, of its tenant and of each
//     operator's tenant that has a webhook for it, and a fact that was rolled
//     back becomes none: the notice is written in the fact's transaction, and
//     taken in the one that puts the event into the outbox.
//   - The ledger never waits for a producer. An insert into the outbox may
//     wait for the tenant's lock, which a producer's transaction holds for as
//     long as it likes; only this package's worker waits with it.
//   - Events about operational events there are none, so that a dead receiver
//     of them can't feed itself.
//
// Which facts there are is the business of package subscribers.
package opevents
