// Package events defines what all parts of Fanmail share: the ids, the catalogue of
// event types, the [Event] that a producer inserts, the [Envelope] that a receiver
// gets, and the subjects of the broker. It imports only the standard library, so a
// receiver can depend on it.
//
// A receiver decodes the body of a request that it has verified:
//
//	envelope, err := events.DecodeEnvelope(body)
//	if err != nil {
//		return err
//	}
//	switch envelope.Type {
//	case events.EmailReceived:
//		var mail email.Received // of package events/email
//		if err := json.Unmarshal(envelope.Data, &mail); err != nil {
//			return err
//		}
//		log.Println(envelope.ID, mail.Subject)
//	}
//
// The package guarantees:
//
//   - An id is 16 bytes. As text it has a prefix that names its kind. Each kind is a
//     Go type of its own, so the compiler refuses an id of another kind.
//   - An envelope is encoded once, by [Event.Encode], with the database's time. Every
//     POST of the event has the same bytes.
//   - The id of an event with an idempotency key is derived from tenant, key and type.
//     If such an event is inserted twice, it has the same id.
//   - The id of a delivery is derived from event, webhook and replay. It begins with
//     the delivery's creation time, so that ids sort by time.
package events
