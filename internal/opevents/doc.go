// Package opevents turns facts about webhooks and deliveries into operational
// events: webhook.failing, webhook.disabled, webhook.recovered and delivery.exhausted.
// It gathers facts for mails. It owns the tables operational_events and alert_mails.
//
// It guarantees:
//
//   - A fact that was committed becomes one event of its tenant, and one of each
//     operator's tenant that has a webhook for the type. A fact that was rolled back
//     becomes none: it is recorded in its own transaction, and taken in the
//     transaction that inserts the event into the outbox.
//
//   - The outcome writer never waits for a producer. An insert into the outbox may
//     wait for the tenant's lock, which a producer may hold for long; only this
//     package's worker waits for it.
//
//   - There are no events about operational events, so a dead receiver of them
//     causes no more of them.
//
//   - Of each webhook at most one mail a day is due, whatever the number of replicas.
//     What happens meanwhile is told in the next one. A mail that was sent is not due
//     again, unless its sender died before it was recorded.
//
// Package subscribers decides which facts there are, and package alertmail sends the mails.
package opevents
