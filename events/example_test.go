package events_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/fanmail-dev/fanmail/events"
)

// A receiver decodes the body of a webhook request after it has verified the signature.
func ExampleDecodeEnvelope() {
	body := []byte(`{"type":"email.sent","id":"evt_000102030405060708090a0b0c0d0e0f",` +
		`"created_at":"2026-01-02T03:04:05.000000Z","schema_version":"1","data":{"message_id":"m-1"}}`)
	env, err := events.DecodeEnvelope(body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(env.Type, env.ID)
	fmt.Println(string(env.Data))
	// Output:
	// email.sent evt_000102030405060708090a0b0c0d0e0f
	// {"message_id":"m-1"}
}

// Validate names the first field that is wrong, and the limit.
func ExampleEvent_Validate() {
	ev := events.Event{
		TenantID: events.NewRandom[events.TenantKind](),
		Type:     events.EmailSent,
		Labels:   make([]string, 101),
		Data:     json.RawMessage(`{}`),
	}
	var fault *events.FieldError
	if errors.As(ev.Validate(), &fault) {
		fmt.Println("field: ", fault.Field)
		fmt.Println("reason:", fault.Reason)
	}
	// Output:
	// field:  labels
	// reason: has 101 labels; the limit is 100
}

// The same tenant, key and type always give the same event id.
func ExampleDeriveID() {
	tenant, err := events.Parse[events.TenantKind]("ten_000102030405060708090a0b0c0d0e0f")
	if err != nil {
		fmt.Println(err)
		return
	}
	first := events.DeriveID(tenant, "order-17", events.EmailSent)
	second := events.DeriveID(tenant, "order-17", events.EmailSent)
	other := events.DeriveID(tenant, "order-17", events.EmailBounced)
	fmt.Println(first == second, first == other)
	// Output: true false
}

// Parse refuses an id of another kind.
func ExampleParse() {
	_, err := events.Parse[events.WebhookKind]("evt_000102030405060708090a0b0c0d0e0f")
	fmt.Println(err)
	// Output: "evt_000102030405060708090a0b0c0d0e0f" is not an id of the form wh_ followed by 32 hex digits
}

// A producer in another process publishes an event to its tenant's intake subject.
func ExampleDecodeIntake() {
	tenant, err := events.ParseIntakeSubject(events.IntakePrefix + "ten_000102030405060708090a0b0c0d0e0f")
	if err != nil {
		fmt.Println(err)
		return
	}
	ev, err := events.DecodeIntake(tenant, []byte(`{"type":"email.sent","agent_id":"Ann@example.com","data":{"n":1}}`))
	fmt.Println(ev.Type, ev.AgentID, string(ev.Data), err)
	_, err = events.DecodeIntake(tenant, []byte(`{"type":"email.sent","when":"now","data":{}}`))
	fmt.Println(err)
	// Output:
	// email.sent ann@example.com {"n":1} <nil>
	// when: is not a field of an event
}
