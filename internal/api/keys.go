package api

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// KeyPrefix begins the secret of every key; 32 random bytes in base64url
// follow.
const KeyPrefix = "fm_"

// Key is an API key, without its secret.
type Key struct {
	ID         events.APIKeyID  `json:"id" example:"key_0123456789abcdef0123456789abcdef"`
	TenantID   *events.TenantID `json:"tenant_id" nullable:"true" doc:"Whose key it is; null: an operator's."`
	Name       string           `json:"name"`
	Scopes     []string         `json:"scopes" enum:"read,write" doc:"What the key may do; empty: everything that its kind may."`
	RateLimit  *int             `json:"rate_limit" doc:"Requests a second; null: as many as the server allows any key."`
	CreatedAt  time.Time        `json:"created_at"`
	LastUsedAt *time.Time       `json:"last_used_at" doc:"Exact to a minute."`
}

// newKey is a key in the one answer that shows its secret.
type newKey struct {
	Key
	Secret string `json:"secret" doc:"Shown here and never again."`
}

// NewKey says what a key is to be.
type NewKey struct {
	TenantID events.TenantID // zero: an operator's key
	Name     string          // "" is allowed
	Scopes   []string        // [ScopeRead], [ScopeWrite]; none: all
	// RateLimit is how many requests a second the key may make, from 1 to
	// [MaxRateLimit]; 0: as many as the server allows.
	RateLimit int
}

// MaxRateLimit is the highest rate limit that a key can have of its own.
const MaxRateLimit = 100_000

// CreateKey makes a key and gives it with its secret, of which only a hash is
// kept. It returns an [*events.FieldError] for a bad name or scope, or for a
// tenant that does not exist.
func CreateKey(ctx context.Context, db subscribers.DB, k NewKey) (Key, string, error) {
	if err := checkName(k.Name); err != nil {
		return Key{}, "", err
	}
	scopes := slices.Clone(k.Scopes)
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	for _, s := range scopes {
		if s != ScopeRead && s != ScopeWrite {
			return Key{}, "", &events.FieldError{Field: "scopes", Reason: fmt.Sprintf("holds %q; the scopes are %q and %q", s, ScopeRead, ScopeWrite)}
		}
	}
	if scopes == nil {
		scopes = []string{}
	}
	if k.RateLimit < 0 || k.RateLimit > MaxRateLimit {
		return Key{}, "", &events.FieldError{Field: "rate_limit", Reason: fmt.Sprintf("is %d; it must be from 1 to %d requests a second", k.RateLimit, MaxRateLimit)}
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	secret := KeyPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	out := Key{ID: events.NewRandom[events.APIKeyKind](), Name: k.Name, Scopes: scopes}
	if !k.TenantID.IsZero() {
		out.TenantID = &k.TenantID
	}
	if k.RateLimit > 0 {
		out.RateLimit = &k.RateLimit
	}
	err := db.QueryRow(ctx, `INSERT INTO fanmail.api_keys (id, tenant_id, name, scopes, secret_hash, rate_limit) VALUES ($1, $2, $3, $4, $5, $6) RETURNING created_at`,
		out.ID, k.TenantID, k.Name, scopes, hash(secret), out.RateLimit).Scan(&out.CreatedAt)
	if unknownReference(err) {
		return Key{}, "", &events.FieldError{Field: "tenant_id", Reason: "names no tenant"}
	}
	if err != nil {
		return Key{}, "", fmt.Errorf("insert a key: %w", err)
	}
	out.CreatedAt = out.CreatedAt.UTC()
	return out, secret, nil
}

func unknownReference(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == "23503"
}

// BootstrapOperatorKey makes an operator's key with all scopes and gives its
// secret. It is how an installation gets its first key.
func BootstrapOperatorKey(ctx context.Context, pool *pgxpool.Pool) (string, error) {
	_, secret, err := CreateKey(ctx, pool, NewKey{Name: "operator"})
	return secret, err
}

const keyColumns = `id, tenant_id, name, scopes, rate_limit, created_at, last_used_at`

func scanKey(row pgx.CollectableRow) (Key, error) {
	var k Key
	var tenant events.TenantID
	err := row.Scan(&k.ID, &tenant, &k.Name, &k.Scopes, &k.RateLimit, &k.CreatedAt, &k.LastUsedAt)
	if !tenant.IsZero() {
		k.TenantID = &tenant
	}
	k.CreatedAt, k.LastUsedAt = k.CreatedAt.UTC(), utc(k.LastUsedAt)
	return k, err
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func (s *server) keyRoutes() {
	register(s, anybody, huma.Operation{
		OperationID: "create-key", Method: http.MethodPost, Path: "/v1/keys", DefaultStatus: http.StatusCreated,
		Summary:     "Make a key",
		Description: "A tenant's key makes keys of its own tenant, with no scope that it lacks itself and no higher rate limit than its own. An operator's key makes keys of any tenant, or, without `tenant_id`, operators' keys.",
	}, func(ctx context.Context, in *struct {
		Body struct {
			TenantID events.TenantID `json:"tenant_id,omitempty" pattern:"^ten_[0-9a-fA-F]{32}$"`
			Name     string          `json:"name,omitempty" doc:"At most 200 bytes."`
			Scopes   []string        `json:"scopes,omitempty" enum:"read,write" maxItems:"16" doc:"None: all."`
			// 1 to MaxRateLimit.
			RateLimit int `json:"rate_limit,omitempty" minimum:"1" maximum:"100000" doc:"Requests a second; none: as many as the server allows any key."`
		} `nameHint:"KeySettings"`
	},
	) (*body[newKey], error) {
		me := caller(ctx)
		want := NewKey{TenantID: in.Body.TenantID, Name: in.Body.Name, Scopes: in.Body.Scopes, RateLimit: in.Body.RateLimit}
		if !me.Operator() {
			if want.TenantID.IsZero() {
				want.TenantID = me.TenantID
			}
			if want.TenantID != me.TenantID {
				return nil, subscribers.ErrNotFound
			}
		}
		if len(me.Scopes) > 0 && (len(want.Scopes) == 0 || slices.ContainsFunc(want.Scopes, func(sc string) bool { return !me.may(sc) })) {
			return nil, fault("body.scopes", "must be among those of the key that makes it")
		}
		if me.RateLimit > 0 && (want.RateLimit == 0 || want.RateLimit > me.RateLimit) {
			return nil, fault("body.rate_limit", "must be at most %d, which is that of the key that makes it", me.RateLimit)
		}
		var out newKey
		err := s.change(ctx, func(u *unit) (err error) {
			out.Key, out.Secret, err = CreateKey(ctx, u, want)
			return err
		})
		if err != nil {
			return nil, err
		}
		return reply(out), nil
	})
	register(s, anybody, huma.Operation{
		OperationID: "list-keys", Method: http.MethodGet, Path: "/v1/keys", Summary: "List keys that have not been revoked",
		Description: "A tenant's key sees its tenant's. An operator's key sees all of them, or those of `tenant_id`.",
	}, func(ctx context.Context, in *struct {
		Paging
		TenantID events.TenantID `query:"tenant_id" doc:"For operators: this tenant's keys alone."`
	},
	) (*body[list[Key]], error) {
		after, err := in.after()
		if err != nil {
			return nil, err
		}
		at, id := after.Bound()
		const order = ` AND revoked_at IS NULL AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`
		var rows pgx.Rows
		switch me := caller(ctx); {
		case !me.Operator() && !in.TenantID.IsZero() && in.TenantID != me.TenantID:
			return nil, subscribers.ErrNotFound
		case !me.Operator():
			rows, err = s.pool.Query(ctx, `SELECT `+keyColumns+` FROM fanmail.api_keys WHERE tenant_id = $4`+order, at, id, in.Limit+1, me.TenantID)
		case !in.TenantID.IsZero():
			rows, err = s.pool.Query(ctx, `SELECT `+keyColumns+` FROM fanmail.api_keys WHERE tenant_id = $4`+order, at, id, in.Limit+1, in.TenantID)
		default:
			rows, err = s.pool.Query(ctx, `SELECT `+keyColumns+` FROM fanmail.api_keys WHERE true`+order, at, id, in.Limit+1)
		}
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		found, err := pgx.CollectRows(rows, scanKey)
		if err != nil {
			return nil, fmt.Errorf("list keys: %w", err)
		}
		return page(&in.Paging, found, func(k Key) (time.Time, [16]byte) { return k.CreatedAt, k.ID }, func(k Key) Key { return k }), nil
	})
	register(s, anybody, huma.Operation{
		OperationID: "revoke-key", Method: http.MethodDelete, Path: "/v1/keys/{id}", DefaultStatus: http.StatusNoContent,
		Summary: "Revoke a key, at once",
	}, func(ctx context.Context, in *struct {
		ID events.APIKeyID `path:"id"`
	},
	) (*struct{}, error) {
		me := caller(ctx)
		var tag pgconn.CommandTag
		var err error
		if me.Operator() {
			tag, err = s.pool.Exec(ctx, `UPDATE fanmail.api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL`, in.ID)
		} else {
			tag, err = s.pool.Exec(ctx, `UPDATE fanmail.api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL AND tenant_id = $2`, in.ID, me.TenantID)
		}
		if err != nil {
			return nil, fmt.Errorf("revoke a key: %w", err)
		}
		if tag.RowsAffected() == 0 {
			return nil, subscribers.ErrNotFound
		}
		return nil, nil //nolint:nilnil // 204
	})
}
