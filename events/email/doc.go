// Package email defines the "data" of events about mail as Go types, for producers and
// receivers. It imports nothing of this module. The JSON Schemas in events/schema are
// generated from the types.
//
// A receiver decodes the data of an email.received event like this:
//
//	var mail email.Received
//	if err := json.Unmarshal(envelope.Data, &mail); err != nil {
//		return err
//	}
//	fmt.Println(mail.From, mail.Subject)
//
// The package guarantees that fields are only added within a schema version. A
// receiver that ignores unknown fields keeps working.
package email
