// Package operational defines the "data" of operational events as Go types. These are
// events about Fanmail itself, such as webhook.disabled. The package imports nothing
// of this module. The JSON Schemas in events/schema are generated from the types.
//
// A receiver decodes the data of a webhook.disabled event like this:
//
//	var data operational.WebhookDisabled
//	if err := json.Unmarshal(envelope.Data, &data); err != nil {
//		return err
//	}
//	log.Println(data.WebhookURL, "is disabled:", data.Reason)
//
// The package guarantees that fields are only added within a schema version. A
// receiver that ignores unknown fields keeps working.
package operational
