// Package fanmailtest helps to test programs that embed Fanmail. One call starts a
// database, a broker, a client and a receiver that verifies what it gets:
//
//	func TestOrderIsTold(t *testing.T) {
//		kit := fanmailtest.New(t)
//		kit.CreateWebhook(t, "email.received")
//		… the program inserts an event with kit.Pool …
//		kit.Tick(t) // everything that is due is sent when it returns
//		got := kit.Receiver.Requests()
//	}
//
// It guarantees:
//
//   - The servers are real: Postgres, NATS with JetStream, and an HTTP server on
//     the loopback interface. Postgres must be installed; the error says how.
//   - Each kit has a database of its own, so that tests can run in parallel. One
//     private Postgres serves all kits of a process and ends with it.
//   - A request whose signature does not verify fails the test.
package fanmailtest
