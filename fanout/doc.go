// Package fanout turns relayed events into deliveries.
//
// It takes event messages in batches: the messages that arrive while one batch
// commits are the next batch. For each batch,
//
//  1. one transaction deletes the events' outbox rows and inserts a delivery row
//     for each matching webhook,
//  2. the deliveries go to the lanes of this process, or in one message for each
//     partition to the dispatcher that owns it,
//  3. the event messages are acknowledged.
//
// The root package's client runs a fan-out. A program that builds its own dispatcher
// begins like this:
//
//	registry := subscribers.NewRegistry(pool, nc, log)
//	if err := registry.Load(ctx); err != nil {
//		return err
//	}
//	return fanout.New(pool, js, registry, fanout.Options{Log: log}).Run(ctx)
//
// It guarantees:
//
//   - An event whose outbox row is gone was fanned out already. Its message is
//     acknowledged and nothing else happens, even if the webhooks have changed
//     since. Duplicate messages and resets of the consumer create nothing.
//   - An event is matched against every webhook that committed before the event
//     did.
//   - An event message is acknowledged only after the rows are committed and an
//     attempt to publish their messages has ended. If publishing failed, the rows'
//     short lease runs out and their owner fetches them from the table.
//   - While the broker takes or delivers no events, [Fanout.Run] takes them from the
//     outbox. While it takes no delivery messages, rows of other dispatchers are due
//     at once. Neither costs more than one look-up a second while the broker is well.
//   - [Fanout.Round] needs no broker: it reads the outbox itself.
//
// Dispatchers rank by their ids. The first takes all messages while it keeps up,
// so that batches stay large.
//
// The commit does not wait for the disk. If Postgres crashes before the rows reach
// the disk, the deletion of the outbox rows is lost with them, and the relay
// publishes the events again.
package fanout
