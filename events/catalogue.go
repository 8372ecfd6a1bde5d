package events

import (
	"fmt"
	"slices"
	"strings"
)

// Type is an event's type, such as "email.received".
type Type string

// The event catalogue. A new type is a line here and a line in [Catalogue].
const (
	EmailReceived        Type = "email.received"
	EmailSent            Type = "email.sent"
	EmailPendingApproval Type = "email.pending_approval"
	EmailApproved        Type = "email.approved"
	EmailRejected        Type = "email.rejected"
	EmailDelivered       Type = "email.delivered"
	EmailBounced         Type = "email.bounced"
	EmailComplained      Type = "email.complained"
)

var catalogue = []Type{
	EmailReceived, EmailSent, EmailPendingApproval, EmailApproved, EmailRejected,
	EmailDelivered, EmailBounced, EmailComplained,
}

// Catalogue lists the known types.
func Catalogue() []Type { return slices.Clone(catalogue) }

// Known says whether the type is in the catalogue.
func (t Type) Known() bool { return slices.Contains(catalogue, t) }

// UnknownTypeError is the answer to a type that the catalogue lacks.
type UnknownTypeError struct{ Type Type }

// Error names the type and lists the known ones.
func (e *UnknownTypeError) Error() string {
	names := make([]string, len(catalogue))
	for i, t := range catalogue {
		names[i] = string(t)
	}
	return fmt.Sprintf("unknown event type %q; known types: %s", clip(string(e.Type), 64), strings.Join(names, ", "))
}
