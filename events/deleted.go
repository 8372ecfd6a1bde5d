package events

import "time"

// DeletedTenantError means that a tenant was deleted: it takes no events and no changes, unless an operator restores it
// before its data are erased.
type DeletedTenantError struct {
	TenantID TenantID
	At       time.Time // when it was deleted; zero: not known
}

// Error names the tenant, and when it was deleted.
func (e *DeletedTenantError) Error() string {
	text := "tenant " + e.TenantID.String() + " was deleted"
	if !e.At.IsZero() {
		text += " at " + e.At.UTC().Format(time.RFC3339)
	}
	return text + ": it takes no events and no changes unless it is restored"
}
