package tenancy

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

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

// Identify returns the identity behind a key that was authenticated before, for a session
// that the key has opened. It returns [ErrUnauthenticated] if the key is not valid any more.
func Identify(ctx context.Context, db DB, id events.APIKeyID) (Principal, error) {
	return lookUp(ctx, db, "k.id = $1", id)
}

// OfSubject returns the identity of a member of a tenant whom an OpenID Connect provider
// has named, or of an operator if tenant is zero and operator is true. actor names the
// member for people. It returns [ErrUnauthenticated] if there is no such tenant.
func OfSubject(ctx context.Context, db DB, subject, actor string, operator bool, tenant events.TenantID, roles ...Role) (Principal, error) {
	p := Principal{Kind: TenantCaller, Subject: subject, Actor: actor, TenantID: tenant, Rights: RightsOf(roles)}
	if operator {
		p.Kind = OperatorCaller
	}
	return Confirm(ctx, db, p)
}

// Confirm reads again what an in-process caller may do, so that a revocation, a new
// quota and a smaller set of rights hold for it as for a key. What the database says of
// a key or a portal link replaces what p says: p can have fewer rights, never more. It
// returns [ErrUnauthenticated] for nobody, and for a key, link or tenant that is not valid.
func Confirm(ctx context.Context, db DB, p Principal) (Principal, error) {
	var now Principal
	var err error
	switch {
	case !p.KeyID.IsZero() && p.Subject == "" && p.PortalID.IsZero():
		now, err = lookUp(ctx, db, "k.id = $1 AND ($2::timestamptz IS NULL OR k.rotated_at IS NULL OR $2 > k.rotated_at OR k.previous_until > now())", p.KeyID, optionalTime(p.SignedInAt))
	case !p.PortalID.IsZero() && p.Subject == "" && p.KeyID.IsZero():
		now, err = portalByID(ctx, db, p.PortalID)
	case p.Subject != "" && p.KeyID.IsZero() && p.PortalID.IsZero() && (p.Kind == TenantCaller || p.Kind == OperatorCaller) && (p.Kind == OperatorCaller) == p.TenantID.IsZero():
		now = Principal{Kind: p.Kind, Subject: p.Subject, TenantID: p.TenantID, Rights: p.Rights, Actor: p.Actor, ExpiresAt: p.ExpiresAt}
		if !p.Operator() {
			now.Quota, err = GetQuota(ctx, db, p.TenantID)
			if errors.Is(err, pgx.ErrNoRows) {
				err = ErrUnauthenticated
			}
		}
	default:
		err = ErrUnauthenticated
	}
	if err == nil && (now.Kind != p.Kind || now.TenantID != p.TenantID) {
		err = ErrUnauthenticated
	}
	if err != nil {
		return Principal{}, err
	}
	now.Rights &= p.Rights
	if p.Portal() {
		now.Webhooks = slices.DeleteFunc(now.Webhooks, func(w events.WebhookID) bool { return !slices.Contains(p.Webhooks, w) })
	}
	now.Address, now.SignedInAt, now.Secret = p.Address, p.SignedInAt, p.Secret
	return now, nil
}

// Valid reports whether a principal may go on: whether what it was authenticated with is
// neither revoked nor expired. A secret that a rotation replaced is valid until the end
// of the overlap.
func Valid(ctx context.Context, db DB, p *Principal) (bool, error) {
	if p.hash == "" {
		_, err := Confirm(ctx, db, *p)
		if errors.Is(err, ErrUnauthenticated) {
			return false, nil
		}
		return err == nil, err
	}
	var current, previous []byte
	err := db.QueryRow(ctx, `SELECT secret_hash, CASE WHEN previous_until > now() THEN previous_hash END FROM fanmail.api_keys
		WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`, p.KeyID).Scan(&current, &previous)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up a key: %w", err)
	}
	was := []byte(p.hash)
	return bytes.Equal(current, was) || bytes.Equal(previous, was), nil
}

// ID returns 16 bytes that identify the principal, to count its requests.
func (p *Principal) ID() (id [16]byte) {
	switch {
	case !p.KeyID.IsZero():
		return p.KeyID
	case !p.PortalID.IsZero():
		return p.PortalID
	}
	sum := hash("subject\x00" + p.Subject)
	copy(id[:], sum)
	return id
}

// Identity returns a text that no other principal has, for keys that belong to one.
func (p *Principal) Identity() []byte {
	id := p.ID()
	out := binary.BigEndian.AppendUint64([]byte{byte(p.Kind)}, uint64(len(p.Subject)))
	return append(append(append(out, id[:]...), p.TenantID[:]...), p.Subject...)
}

// optionalTime is a time for Postgres: NULL for the zero time.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
