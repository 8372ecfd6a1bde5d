package tenancy

import (
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/secret"
)

// Kind is what a principal is.
type Kind uint8

// The kinds. The zero value may do nothing.
const (
	Nobody         Kind = iota
	TenantCaller        // a tenant's key or member
	OperatorCaller      // an operator's key or member
	PortalCaller        // somebody with a portal link of a tenant
)

// Principal is the identity behind a request, and what it may do. The zero value is
// nobody and may do nothing. [Authenticate], [Identify] and [OfSubject] make one;
// [Confirm] reads again what it may do now.
type Principal struct {
	Kind Kind
	// One of these says who it is: the key, the subject of an OpenID Connect provider,
	// or the portal link.
	KeyID    events.APIKeyID
	Subject  string
	PortalID events.PortalID
	// TenantID is the tenant on which it acts; zero for an operator.
	TenantID events.TenantID
	// Rights are those of its roles.
	Rights Rights
	// RateLimit is its own limit in requests a second; 0: the server's limit.
	RateLimit int
	// Quota is what is set for the tenant.
	Quota Quota
	// Networks are the addresses from which it may come; none: all.
	Networks []netip.Prefix
	// Webhooks are those that a portal link shows.
	Webhooks []events.WebhookID
	// ExpiresAt is when it ends; zero: never.
	ExpiresAt time.Time
	// Actor names it for people in the audit log: a key's name, a member's mail address.
	Actor string
	// Address is where the request comes from. In-process callers set it.
	Address netip.Addr
	// SignedInAt is when an in-process caller's session began; zero for none. A session
	// that began with a secret of a key ends with that secret.
	SignedInAt time.Time
	// Secret encrypts the stored responses of an in-process caller's requests. It is a
	// random text of at least 16 bytes that the database does not hold, such as the
	// session's token. "": responses are stored for this process alone.
	Secret secret.Text

	hash secret.Text // of the secret with which it was authenticated; "": without one
}

// Operator reports whether it is an operator's.
func (p *Principal) Operator() bool { return p.Kind == OperatorCaller }

// Portal reports whether it is held to the webhooks of a portal link.
func (p *Principal) Portal() bool { return p.Kind == PortalCaller }

// May reports whether it has all of the rights.
func (p *Principal) May(r Rights) bool { return p.Kind != Nobody && p.Rights.Has(r) }

// Shows reports whether it may see a webhook of its tenant: a portal link shows the
// chosen ones.
func (p *Principal) Shows(w events.WebhookID) bool {
	return p.Kind != Nobody && (!p.Portal() || slices.Contains(p.Webhooks, w))
}

// From reports whether it may come from an address. If it is held to networks, an
// unknown address is not in them.
func (p *Principal) From(address netip.Addr) bool {
	address = address.Unmap()
	return len(p.Networks) == 0 || slices.ContainsFunc(p.Networks, func(n netip.Prefix) bool { return n.Contains(address) })
}

// ID returns 16 bytes that identify the principal, to count its requests.
func (p *Principal) ID() (id [16]byte) {
	switch {
	case !p.KeyID.IsZero():
		return p.KeyID
	case !p.PortalID.IsZero():
		return p.PortalID
	}
	sum := sha256.Sum256([]byte("subject\x00" + p.Subject))
	copy(id[:], sum[:])
	return id
}

// Identity returns a text that no other principal has, for keys that belong to one.
func (p *Principal) Identity() []byte {
	id := p.ID()
	out := binary.BigEndian.AppendUint64([]byte{byte(p.Kind)}, uint64(len(p.Subject)))
	return append(append(append(out, id[:]...), p.TenantID[:]...), p.Subject...)
}
