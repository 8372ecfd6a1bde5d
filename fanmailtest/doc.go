// Package fanmailtest is for tests of programs that embed Fanmail. One call starts a
// database, a broker, a client and a receiver that verifies signatures:
//
//	func TestOrder(t *testing.T) {
//		kit := fanmailtest.New(t)
//		kit.CreateWebhook(t, "email.received")
//		// Your program inserts an event here, with kit.Pool.
//		kit.Tick(t) // when it returns, everything that was due has been sent
//		if got := kit.Receiver.Requests(); len(got) != 1 {
//			t.Fatalf("received %v", got)
//		}
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
