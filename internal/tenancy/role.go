package tenancy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

// Rights are what a caller may do. The zero value is nothing.
type Rights uint8

// The rights.
const (
	// Read is to read everything of a tenant, its mails included, but not its audit log.
	Read Rights = 1 << iota
	// Send is to create events.
	Send
	// Redeliver is to send again what was sent or missed: retries, redeliveries and replays.
	Redeliver
	// Change is to create, change and delete webhooks, agents, domains and other settings.
	Change
	// Administer is to create and revoke keys, and to read the audit log.
	Administer
	// Consume is to poll and acknowledge deliveries of webhooks of kind pull.
	Consume
)

// Has reports whether all of the wanted rights are there. Nothing has no right.
func (r Rights) Has(want Rights) bool { return want != 0 && r&want == want }

// Role is a named set of rights. A key's scopes are roles.
type Role string

// The roles.
const (
	RoleAdmin    Role = "admin"
	RoleWrite    Role = "write"
	RoleRead     Role = "read"
	RoleSendOnly Role = "send-only"
	RoleConsume  Role = "consume"
	RoleReplay   Role = "replay"
)

// Roles returns all roles, the one with the most rights first.
func Roles() []Role {
	return []Role{RoleAdmin, RoleWrite, RoleReplay, RoleRead, RoleSendOnly, RoleConsume}
}

// Rights returns what the role may do; nothing for a text that is no role.
func (r Role) Rights() Rights {
	switch r {
	case RoleAdmin:
		return Read | Send | Redeliver | Change | Administer | Consume
	case RoleWrite:
		return Read | Send | Redeliver | Change | Consume
	case RoleReplay:
		return Read | Redeliver
	case RoleRead:
		return Read
	case RoleSendOnly:
		return Send
	case RoleConsume:
		return Consume
	}
	return 0
}

// RightsOf returns the rights of several roles together. No roles have none.
func RightsOf(roles []Role) (r Rights) {
	for _, role := range roles {
		r |= role.Rights()
	}
	return r
}

// Allowing returns the roles that have a right, in the order of [Roles].
func Allowing(right Rights) (out []Role) {
	for _, role := range Roles() {
		if role.Rights().Has(right) {
			out = append(out, role)
		}
	}
	return out
}

// checkRoles returns the roles sorted, each once. No roles mean [RoleAdmin]. A text that
// is no role, and a role that does nothing for operators, is an [*events.FieldError].
func checkRoles(roles []Role, operator bool) ([]Role, error) {
	if len(roles) == 0 {
		return []Role{RoleAdmin}, nil
	}
	for _, r := range roles {
		if r.Rights() == 0 {
			names := make([]string, 0, len(Roles()))
			for _, known := range Roles() {
				names = append(names, string(known))
			}
			return nil, &events.FieldError{Field: "scopes", Reason: fmt.Sprintf("holds %q; the scopes are %s", r, strings.Join(names, ", "))}
		}
		if operator && !r.Rights().Has(Read) {
			return nil, &events.FieldError{Field: "scopes", Reason: fmt.Sprintf("holds %q, which is for keys of tenants: operators create no events and poll none", r)}
		}
	}
	out := slices.Clone(roles)
	slices.Sort(out)
	return slices.Compact(out), nil
}
