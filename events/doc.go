// Package events declares the values that all packages of Fanmail share: ids, event types, the [Event] that a producer
// inserts, the [Envelope] that a subscriber receives, and the NATS subjects.
//
// A receiver decodes the body of a webhook request like this:
//
//	env, err := events.DecodeEnvelope(body)
//	if err != nil {
//		return err
//	}
//	if env.Type == events.EmailReceived {
//		var mail email.Received // package events/email
//		err = json.Unmarshal(env.Data, &mail)
//	}
//
// Verify the request's signature first, with package subscribers/signature.
//
// The package guarantees:
//
//   - An id is 16 bytes. Its text form has a prefix for its kind, such as "evt_". Each kind is a Go type of its own, so
//     the compiler refuses to mix two kinds.
//   - An envelope is encoded once, when its event is inserted. Every delivery sends the same bytes.
//   - The id of an event with an idempotency key is derived from tenant, key and type. Accepting the same fact twice
//     therefore results in one event.
//   - The id of a delivery is derived from event, webhook and replay. It begins with the delivery's creation time, so
//     ids sort by time.
//
// It imports only the standard library, so a receiver can depend on it.
package events
