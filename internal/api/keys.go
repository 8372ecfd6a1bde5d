package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// newKey is a key in the only response that shows its secret.
type newKey struct {
	tenancy.Key
	Secret string `json:"secret" doc:"Shown only here."`
}

type createKeyInput struct {
	Body struct {
		TenantID events.TenantID `json:"tenant_id,omitempty" pattern:"^ten_[0-9a-fA-F]{32}$"`
		Name     storedText      `json:"name,omitempty" doc:"At most 200 bytes."`
		Scopes   []tenancy.Role  `json:"scopes,omitempty" enum:"admin,write,replay,read,send-only,consume" maxItems:"16" doc:"The roles of the key. Defaults to admin."`
		// The maximum is [tenancy.MaxRateLimit].
		RateLimit int          `json:"rate_limit,omitempty" minimum:"1" maximum:"100000" doc:"Requests a second. Defaults to the server's limit."`
		Networks  []storedText `json:"networks,omitempty" maxItems:"32" example:"[\"192.0.2.0/24\"]" doc:"The source addresses from which the key is accepted, as networks or addresses. Defaults to all. Behind a proxy that the server doesn't know, all requests come from the proxy's address."`
		ExpiresIn lifetime     `json:"expires_in,omitempty" example:"720h" doc:"After how long the key is refused, such as 720h. Defaults to never."`
		ExpiresAt *instant     `json:"expires_at,omitempty" doc:"From when on the key is refused, instead of expires_in."`
	} `nameHint:"KeySettings"`
}

// lifetime is a duration of a request, such as "24h"; zero if it is absent.
type lifetime string

func (t lifetime) duration(location string) (time.Duration, error) {
	if t == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(string(t))
	if err != nil || d < 0 {
		return 0, fault(location, "must be a duration such as 30m or 720h")
	}
	return d, nil
}

type keyQuery struct {
	Paging
	TenantID events.TenantID `query:"tenant_id" doc:"Only keys of this tenant (for operators)."`
}

type keyPath struct {
	ID events.APIKeyID `path:"id"`
}

type rotateKeyInput struct {
	ID   events.APIKeyID `path:"id"`
	Body *struct {
		Overlap lifetime `json:"overlap,omitempty" default:"24h" doc:"For how long the previous secret is accepted too, at most 720h; 0s ends it at once."`
	} `nameHint:"KeyRotation"`
}

func (s *server) keyRoutes() {
	register(s, anybody.needs(tenancy.Administer), huma.Operation{
		OperationID: "create-key", Method: http.MethodPost, Path: "/v1/keys", DefaultStatus: http.StatusCreated,
		Summary: "Create a key",
		Description: "A tenant's key creates keys of its own tenant. An operator's key creates keys of any tenant or, without `tenant_id`, of operators. " +
			"No key creates a key with more rights than its own: what it is held to in roles, networks and expiry holds for the new key. " +
			"A key with a rate limit of its own creates no keys.",
	}, s.createKey)
	register(s, anybody, huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: "/v1/keys", Summary: "List the keys that are not revoked",
		Description: "A tenant's key lists the keys of its tenant. An operator's key lists all keys, or those of `tenant_id`.",
	}, s.listKeys)
	register(s, anybody.needs(tenancy.Administer), huma.Operation{
		OperationID: "rotate-key", Method: http.MethodPost, Path: "/v1/keys/{id}/rotate", Summary: "Give a key a new secret",
		Description: "The previous secret is accepted too until the overlap is over. A secret that an earlier rotation left ends at once. " +
			"A key with more rights than the caller's own is a 403.",
	}, s.rotateKey)
	register(s, anybody.needs(tenancy.Administer), huma.Operation{
		OperationID: "revoke-key", Method: http.MethodDelete, Path: "/v1/keys/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Revoke a key, with immediate effect", Description: "Its open streams of events end too.",
	}, s.revokeKey)
}

func (s *server) createKey(ctx context.Context, in *createKeyInput) (*body[newKey], error) {
	me := caller(ctx)
	want := tenancy.NewKey{TenantID: in.Body.TenantID, Name: string(in.Body.Name), Scopes: in.Body.Scopes, RateLimit: in.Body.RateLimit}
	if !me.Operator() {
		if want.TenantID.IsZero() {
			want.TenantID = me.TenantID
		}
		if want.TenantID != me.TenantID {
			return nil, subscribers.ErrNotFound
		}
	}
	if err := in.limits(&want); err != nil {
		return nil, err
	}
	if err := s.within(me, &want); err != nil {
		return nil, err
	}
	if me.RateLimit > 0 && (want.RateLimit == 0 || want.RateLimit > me.RateLimit) {
		return nil, fault("body.rate_limit", "must be at most %d, the limit of the key that creates it", me.RateLimit)
	}
	if me.RateLimit > 0 {
		// Each key has its own count: with keys of its making, it could do more than its limit.
		return nil, problem(http.StatusForbidden, "this key has a rate limit of its own, of %d requests a second, so it creates no keys; use a key without one", me.RateLimit)
	}
	var out newKey
	err := s.change(ctx, func(u *unit) (err error) {
		if err := s.roomForKey(ctx, u, want.TenantID); err != nil {
			return err
		}
		out.Key, out.Secret, err = tenancy.CreateKey(ctx, u, want)
		u.became(out.Key)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(out), nil
}

// limits reads the networks and the expiry of a request.
func (in *createKeyInput) limits(want *tenancy.NewKey) error {
	for i, text := range in.Body.Networks {
		n, err := netip.ParsePrefix(string(text))
		if err != nil {
			var one netip.Addr
			if one, err = netip.ParseAddr(string(text)); err == nil && one.Zone() == "" {
				n = netip.PrefixFrom(one.Unmap(), one.Unmap().BitLen())
			}
		}
		if err != nil || !n.IsValid() {
			return fault(fmt.Sprintf("body.networks[%d]", i), "must be a network such as 192.0.2.0/24, or an address")
		}
		want.Networks = append(want.Networks, n)
	}
	in.Body.ExpiresIn = lifetime(strings.TrimSpace(string(in.Body.ExpiresIn)))
	after, err := in.Body.ExpiresIn.duration("body.expires_in")
	switch {
	case err != nil:
		return err
	case in.Body.ExpiresAt != nil && in.Body.ExpiresIn != "":
		return fault("body.expires_at", "can't stand beside expires_in")
	case in.Body.ExpiresAt != nil:
		want.ExpiresAt = in.Body.ExpiresAt.Time
	case in.Body.ExpiresIn != "":
		want.ExpiresAt = time.Now().Add(after)
		if after <= 0 || want.ExpiresAt.After(input.Latest) {
			return fault("body.expires_in", "must be more than 0, and end before %s", input.Latest.Format(time.DateOnly))
		}
	}
	return nil
}

// within holds a new key to what its creator is held to: what it leaves open is the
// creator's, and what goes beyond is an error.
func (s *server) within(me *tenancy.Principal, want *tenancy.NewKey) error {
	if len(want.Scopes) > 0 && !me.May(tenancy.RightsOf(want.Scopes)) {
		return fault("body.scopes", "must be roles whose rights the key that creates it has")
	}
	if len(want.Networks) == 0 {
		want.Networks = me.Networks
	}
	if !inside(me.Networks, want.Networks) {
		return fault("body.networks", "must lie in the networks of the key that creates it: %s", shownNetworks(me.Networks))
	}
	if want.ExpiresAt.IsZero() {
		want.ExpiresAt = me.ExpiresAt
	}
	if !me.ExpiresAt.IsZero() && want.ExpiresAt.After(me.ExpiresAt) {
		return fault("body.expires_at", "must not be after %s, when the key that creates it expires", me.ExpiresAt.Format(time.RFC3339))
	}
	return nil
}

// inside reports whether each network lies in one of the outer ones. No outer networks
// hold everything, and no inner networks mean everything.
func inside(outer, inner []netip.Prefix) bool {
	if len(outer) == 0 {
		return true
	}
	return len(inner) > 0 && !slices.ContainsFunc(inner, func(in netip.Prefix) bool {
		return !slices.ContainsFunc(outer, func(o netip.Prefix) bool { return o.Bits() <= in.Bits() && o.Contains(in.Addr()) })
	})
}

// maxOverlap bounds for how long two secrets of a key are accepted.
const maxOverlap = 30 * 24 * time.Hour

// defaultOverlap is how long the previous secret is accepted where nothing else is asked.
const defaultOverlap = 24 * time.Hour

func (s *server) rotateKey(ctx context.Context, in *rotateKeyInput) (*body[newKey], error) {
	overlap := defaultOverlap
	if in.Body != nil && in.Body.Overlap != "" {
		var err error
		if overlap, err = in.Body.Overlap.duration("body.overlap"); err != nil {
			return nil, err
		}
		if overlap > maxOverlap {
			return nil, fault("body.overlap", "must be from 0s to %.0fh", maxOverlap.Hours())
		}
	}
	me := caller(ctx)
	var out newKey
	err := s.change(ctx, func(u *unit) error {
		k, err := tenancy.GetKey(ctx, u, me.TenantID, in.ID, true)
		if err != nil {
			return err
		}
		// The caller gets the new secret, and with it what the key may do.
		own := me.RateLimit == 0 && inside(me.Networks, k.Networks) && me.May(tenancy.RightsOf(k.Scopes)) &&
			(me.ExpiresAt.IsZero() || k.ExpiresAt != nil && !k.ExpiresAt.After(me.ExpiresAt))
		if !own && k.ID != me.KeyID {
			return problem(http.StatusForbidden, "this key may do more than the one that asks, in roles, networks, rate limit or expiry; use a key with the same rights")
		}
		out.Key, out.Secret, err = tenancy.RotateKey(ctx, u, in.ID, overlap)
		u.was(k)
		u.of = tenantOfKey(k)
		u.became(out.Key)
		u.then(func() { s.tellRevoked(in.ID) }) // streams that the previous secret opened look it up
		return err
	})
	if err != nil {
		return nil, noKey(err)
	}
	return reply(out), nil
}

// noKey makes a key that does not exist a 404.
func noKey(err error) error {
	if errors.Is(err, tenancy.ErrNoKey) {
		return subscribers.ErrNotFound
	}
	return err
}

// roomForKey checks the quota of the key's tenant. Operators' keys have none.
func (s *server) roomForKey(ctx context.Context, u *unit, of events.TenantID) error {
	if of.IsZero() {
		return nil
	}
	set, err := tenancy.GetQuota(ctx, u, of)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil // creating the key tells which field names no tenant
	}
	if err != nil {
		return err
	}
	return s.room(ctx, u, of, "keys", set.Or(s.defaultQuota()).Keys, func(ctx context.Context, u *unit) (int64, error) {
		return tenancy.CountKeys(ctx, u, of)
	})
}

func (s *server) listKeys(ctx context.Context, in *keyQuery) (*body[list[tenancy.Key]], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	of, err := listed(ctx, in.TenantID)
	if err != nil {
		return nil, err
	}
	found, err := tenancy.ListKeys(ctx, s.pool, of, position(after), in.Limit+1)
	if err != nil {
		return nil, err
	}
	place := func(k tenancy.Key) (time.Time, [16]byte) { return k.CreatedAt, k.ID }
	return page(&in.Paging, found, place, func(k tenancy.Key) tenancy.Key { return k }), nil
}

func (s *server) revokeKey(ctx context.Context, in *keyPath) (*struct{}, error) {
	return nil, noKey(s.change(ctx, func(u *unit) error {
		u.then(func() { s.tellRevoked(in.ID) })
		before, err := tenancy.GetKey(ctx, u, caller(ctx).TenantID, in.ID, true)
		if err != nil {
			return err
		}
		u.was(before)
		u.of = tenantOfKey(before)
		return tenancy.RevokeKey(ctx, u, caller(ctx).TenantID, in.ID)
	}))
}

// tenantOfKey returns the tenant of a key; zero for a key of an operator.
func tenantOfKey(k tenancy.Key) events.TenantID {
	if k.TenantID == nil {
		return events.TenantID{}
	}
	return *k.TenantID
}
