package tenancy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
)

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
			now.Quota, err = quotaInUse(ctx, db, p.TenantID)
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
	err := db.QueryRow(ctx, `SELECT secret_hash, CASE WHEN previous_until > now() THEN previous_hash END FROM fanmail.api_keys AS k
		WHERE `+tenantInUse+` AND id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`, p.KeyID).Scan(&current, &previous)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up a key: %w", err)
	}
	was := []byte(p.hash)
	return bytes.Equal(current, was) || bytes.Equal(previous, was), nil
}

// optionalTime is a time for Postgres: NULL for the zero time.
func optionalTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
