package openid

import (
	"fmt"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

// What a role may do.
const (
	Operator = "operator" // what an operator's key may
	Admin    = "admin"    // what a tenant's key may
	Viewer   = "viewer"   // what a tenant's key with the scope read may
)

// Role is what the members of a group may do.
type Role struct {
	// Group is a value of the groups claim.
	Group string
	// Name is [Operator], [Admin] or [Viewer].
	Name string
	// TenantID is the tenant of an admin or a viewer; zero: the one that the tenant claim names.
	TenantID events.TenantID
}

// ParseRole reads group=role or group=role:tenant. A group may hold "=": the last one separates.
func ParseRole(text string) (Role, error) {
	i := strings.LastIndex(text, "=")
	if i < 1 {
		return Role{}, fmt.Errorf("%q is not group=role or group=role:tenant", text)
	}
	r := Role{Group: strings.TrimSpace(text[:i])}
	name, tenant, bound := strings.Cut(strings.TrimSpace(text[i+1:]), ":")
	r.Name = name
	if name != Operator && name != Admin && name != Viewer {
		return Role{}, fmt.Errorf("%q has the role %q; the roles are %s, %s and %s", text, name, Operator, Admin, Viewer)
	}
	if !bound {
		return r, nil
	}
	if name == Operator {
		return Role{}, fmt.Errorf("%q gives an operator a tenant; operators have none", text)
	}
	if err := r.TenantID.UnmarshalText([]byte(tenant)); err != nil {
		return Role{}, fmt.Errorf("%q names no tenant: %w", text, err)
	}
	return r, nil
}

// rank orders the roles: of several, a person has the highest.
var rank = map[string]int{Operator: 3, Admin: 2, Viewer: 1}

// choose returns the role of a person with these groups and the tenant of the claim. Of
// roles of one rank, the first counts.
func choose(roles []Role, groups []string, claimed events.TenantID) (best Role, ok bool) {
	member := map[string]bool{}
	for _, g := range groups {
		member[g] = true
	}
	for _, r := range roles {
		if r.TenantID.IsZero() {
			r.TenantID = claimed
		}
		if r.Name == Operator {
			r.TenantID = events.TenantID{}
		} else if r.TenantID.IsZero() {
			continue
		}
		if member[r.Group] && rank[r.Name] > rank[best.Name] {
			best, ok = r, true
		}
	}
	return best, ok
}
