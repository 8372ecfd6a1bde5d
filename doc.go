// Package fanmail embeds Fanmail in a Go program: events that the program inserts
// in its own transactions reach subscribers as signed webhooks.
//
// An event is a row in the program's own Postgres database. The program inserts it
// in the transaction of the change that the event is about. If the transaction
// commits, every matching webhook is sent the event until it answers 2xx or its
// attempts are used up. If it rolls back, there is no event.
//
//	if err := fanmail.Migrate(ctx, pool); err != nil { … }
//	c, err := fanmail.New(pool, nc, fanmail.Config{Logger: log})
//	t, err := c.CreateTenant(ctx, "acme")
//	w, err := c.CreateWebhook(ctx, t.ID, fanmail.Webhook{
//		URL: "https://example.com/hook", Events: []fanmail.EventType{"email.received"},
//	}) // w.SigningSecret is shown here and never again
//	go c.Run(ctx)
//	…
//	id, err := fanmail.Insert(ctx, tx, fanmail.Event{
//		TenantID: t.ID, Type: "email.received", Data: json.RawMessage(`{}`),
//	})
//
// # Where it lives
//
// All tables are in the Postgres schema "fanmail" and every statement names it, so
// that Fanmail can share a database with the program, whatever its search_path.
// The broker is NATS with JetStream. It is transport only: if it loses all its
// data, no event is lost.
//
// # Guarantees
//
//   - At least once: a delivery is POSTed twice only if a process died, or a lease
//     ran out, between the POST and its recorded outcome. Every POST of a delivery
//     carries the same ids.
//   - A slow or failing endpoint does not delay the others.
//   - A webhook's limit of attempts in flight holds over all processes that call
//     [Client.Run].
//   - Tenants never see each other: another tenant's id is [ErrNotFound].
//
// # Tests
//
// A program's own tests call [Client.Tick] instead of [Client.Run]. When it returns
// nil, everything that was due has been sent and recorded, so a test need not wait.
// Package fanmailtest starts a database, a client and a receiver for tests.
//
// Receivers verify signatures with package subscribers/signature, which imports only
// the standard library.
package fanmail
