// Package receiver receives Fanmail's webhooks. It needs nothing else of Fanmail.
//
//	r, err := receiver.New(receiver.Config{Secrets: []string{secret}, Seen: receiver.NewMemory(0)})
//	if err != nil {
//		return err
//	}
//	http.Handle("/hooks", r.Handler(func(ctx context.Context, event receiver.Event) error {
//		data, err := event.Decode()
//		if mail, ok := data.(*receiver.EmailReceived); ok {
//			log.Println(mail.Subject)
//		}
//		return err
//	}))
//
// A [Receiver] guarantees:
//
//   - No handler runs before the signature of the exact body is verified, by the library
//     of Standard Webhooks. Its time may be five minutes off, in either direction.
//   - An error, a panic, and an answer other than 2xx make Fanmail send the event again.
//   - With a [Seen], an event that was handled is not handled again while it is
//     remembered, and two requests with one event are never handled at the same time.
//   - Neither an answer nor the log has a secret, a signature or a body.
//
// It checks the HMAC, which each request has, and no Ed25519 signature beside it.
//
// The types of the events' data are generated from Fanmail's JSON Schemas.
package receiver
