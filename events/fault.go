package events

// FieldError means that a field of an event is invalid.
type FieldError struct {
	Field  string // its name in the JSON of POST /v1/events
	Reason string
}

// Error is "field: reason".
func (e *FieldError) Error() string { return e.Field + ": " + e.Reason }
