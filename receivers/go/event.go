package receiver

import (
	"encoding/json"
	"fmt"
	"time"
)

// Event is what a webhook sends. The zero value is no event.
type Event struct {
	// Type of the event, such as [TypeEmailReceived]. Tenants have types of their own.
	Type string `json:"type"`
	// ID of the event, "evt_…": the same at each attempt and replay.
	ID string `json:"id"`
	// CreatedAt is when the event was committed, in UTC.
	CreatedAt time.Time `json:"created_at"`
	// SchemaVersion is the version of the envelope's format.
	SchemaVersion string `json:"schema_version"`
	// Data is a JSON object whose fields depend on the type. See [Event.Decode].
	Data json.RawMessage `json:"data"`
}

// parse reads the envelope of a verified request.
func parse(id string, body []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(body, &e); err != nil {
		return Event{}, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	switch {
	case e.Type == "" || len(e.Data) == 0:
		return Event{}, fmt.Errorf("%w: type or data is missing", ErrEvent)
	case e.ID != id:
		return Event{}, fmt.Errorf("%w: its id is not that of the header webhook-id", ErrEvent)
	}
	return e, nil
}

// Decode reads Data: into a pointer to the struct of the type, such as [*EmailReceived],
// or into a map[string]any for a type that has none. Fields that the struct does not
// know are left out.
//
// Programs may publish events of Fanmail's types with other data: then fields are zero,
// or the error says which does not fit.
func (e Event) Decode() (any, error) {
	data := dataOf(e.Type)
	if data == nil {
		fields := map[string]any{}
		if err := json.Unmarshal(e.Data, &fields); err != nil {
			return nil, fmt.Errorf("read the data of %s: %w", e.ID, err)
		}
		return fields, nil
	}
	if err := json.Unmarshal(e.Data, data); err != nil {
		return nil, fmt.Errorf("read the data of %s as %s: %w", e.ID, e.Type, err)
	}
	return data, nil
}
