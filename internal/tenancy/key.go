package tenancy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
)

// The scopes of a key. A key without scopes may do everything that its kind may.
const (
	ScopeRead  = "read"  // GET
	ScopeWrite = "write" // every other method
)

// KeyPrefix begins the secret of every key; 32 random bytes in base64url
// follow.
const KeyPrefix = "fm_"

// MaxRateLimit is the highest rate limit of its own that a key can have, in
// requests a second.
const MaxRateLimit = 100_000

var (
	// ErrUnauthenticated means that a secret belongs to no key, or to one that is revoked or has expired.
	ErrUnauthenticated = errors.New("no such key")
	// ErrNoKey means that there is no such key, that it is revoked already, or that
	// it belongs to another tenant.
	ErrNoKey = errors.New("no such key to revoke")
)

// Key is an API key, without its secret.
type Key struct {
	ID         events.APIKeyID  `json:"id" example:"key_0123456789abcdef0123456789abcdef"`
	TenantID   *events.TenantID `json:"tenant_id" nullable:"true" doc:"The tenant of the key; null for a key of an operator."`
	Name       string           `json:"name"`
	Scopes     []string         `json:"scopes" enum:"read,write" doc:"What the key may do; empty for all scopes."`
	RateLimit  *int             `json:"rate_limit" doc:"Requests a second; null for the limit of the server."`
	CreatedAt  time.Time        `json:"created_at"`
	LastUsedAt *time.Time       `json:"last_used_at" doc:"The last use; updated at most once a minute."`
	ExpiresAt  *time.Time       `json:"expires_at" doc:"From when on the key is refused; null for never. Only imported keys have it."`
}

// NewKey describes a key to create.
type NewKey struct {
	TenantID events.TenantID // zero: an operator's key
	Name     string          // UTF-8 without control characters, at most 200 bytes; may be empty
	Scopes   []string        // [ScopeRead], [ScopeWrite]; none: all
	// RateLimit is how many requests a second the key may make, from 1 to
	// [MaxRateLimit]; 0: as many as the server allows.
	RateLimit int
}

func (k *NewKey) validate() error {
	if err := checkName(k.Name); err != nil {
		return err
	}
	for _, s := range k.Scopes {
		if s != ScopeRead && s != ScopeWrite {
			return &events.FieldError{Field: "scopes", Reason: fmt.Sprintf("holds %q; the scopes are %q and %q", s, ScopeRead, ScopeWrite)}
		}
	}
	if k.RateLimit < 0 || k.RateLimit > MaxRateLimit {
		return &events.FieldError{Field: "rate_limit", Reason: fmt.Sprintf("is %d; it must be from 1 to %d requests a second", k.RateLimit, MaxRateLimit)}
	}
	return nil
}

// CreateKey makes a key and returns it with its secret, of which only a hash is
// stored. An invalid name, scope or rate limit is an [*events.FieldError]. So is a
// tenant that does not exist; if db is a transaction, it must then roll back.
func CreateKey(ctx context.Context, db DB, k NewKey) (Key, string, error) {
	if err := k.validate(); err != nil {
		return Key{}, "", err
	}
	scopes := append([]string{}, k.Scopes...)
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	secret := KeyPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	out := Key{ID: events.NewRandom[events.APIKeyKind](), Name: input.Shown(k.Name), Scopes: scopes}
	if !k.TenantID.IsZero() {
		out.TenantID = &k.TenantID
	}
	if k.RateLimit > 0 {
		out.RateLimit = &k.RateLimit
	}
	err := db.QueryRow(ctx, `INSERT INTO fanmail.api_keys (id, tenant_id, name, scopes, secret_hash, rate_limit) VALUES ($1, $2, $3, $4, $5, $6) RETURNING created_at`,
		out.ID, k.TenantID, out.Name, scopes, hash(secret), out.RateLimit).Scan(&out.CreatedAt)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && answer.Code == "23503" { // foreign_key_violation
		return Key{}, "", &events.FieldError{Field: "tenant_id", Reason: "names no tenant"}
	}
	if err != nil {
		return Key{}, "", fmt.Errorf("insert a key: %w", err)
	}
	out.CreatedAt = out.CreatedAt.UTC()
	return out, secret, nil
}

// BootstrapOperatorKey makes an operator's key with all scopes and returns its
// secret. An installation gets its first key this way.
func BootstrapOperatorKey(ctx context.Context, db DB) (string, error) {
	_, secret, err := CreateKey(ctx, db, NewKey{Name: "operator"})
	return secret, err
}

// hash is the stored form of a secret. A secret is 32 random bytes, so a slow hash
// would not protect it better.
func hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

const keyColumns = `id, tenant_id, name, scopes, rate_limit, created_at, last_used_at, expires_at`

func scanKey(row pgx.CollectableRow) (Key, error) {
	var k Key
	var tenant events.TenantID
	err := row.Scan(&k.ID, &tenant, &k.Name, &k.Scopes, &k.RateLimit, &k.CreatedAt, &k.LastUsedAt, &k.ExpiresAt)
	if !tenant.IsZero() {
		k.TenantID = &tenant
	}
	k.CreatedAt = k.CreatedAt.UTC()
	if k.LastUsedAt != nil {
		used := k.LastUsedAt.UTC()
		k.LastUsedAt = &used
	}
	if k.ExpiresAt != nil {
		ends := k.ExpiresAt.UTC()
		k.ExpiresAt = &ends
	}
	return k, err
}

// ListKeys returns up to limit keys that are not revoked, after a position, newest
// first. It lists the keys of one tenant, or all keys if tenant is zero.
func ListKeys(ctx context.Context, db DB, tenant events.TenantID, after Position, limit int) ([]Key, error) {
	const order = ` AND revoked_at IS NULL AND (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3`
	var rows pgx.Rows
	var err error
	if tenant.IsZero() {
		rows, err = db.Query(ctx, `SELECT `+keyColumns+` FROM fanmail.api_keys WHERE true`+order, after.CreatedAt, after.ID, limit)
	} else {
		rows, err = db.Query(ctx, `SELECT `+keyColumns+` FROM fanmail.api_keys WHERE tenant_id = $4`+order, after.CreatedAt, after.ID, limit, tenant)
	}
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	found, err := pgx.CollectRows(rows, scanKey)
	if err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	return found, nil
}

// RevokeKey revokes a key of the tenant, or any key if tenant is zero. It returns
// [ErrNoKey] if there is none to revoke.
func RevokeKey(ctx context.Context, db DB, tenant events.TenantID, id events.APIKeyID) error {
	var tag pgconn.CommandTag
	var err error
	if tenant.IsZero() {
		tag, err = db.Exec(ctx, `UPDATE fanmail.api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL`, id)
	} else {
		tag, err = db.Exec(ctx, `UPDATE fanmail.api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL AND tenant_id = $2`, id, tenant)
	}
	if err != nil {
		return fmt.Errorf("revoke a key: %w", err)
	}
	if tag.RowsAffected() == 0 {
		return ErrNoKey
	}
	return nil
}

// Valid reports whether a key exists, is not revoked and has not expired.
func Valid(ctx context.Context, db DB, id events.APIKeyID) (bool, error) {
	var ok bool
	err := db.QueryRow(ctx, `SELECT EXISTS (SELECT FROM fanmail.api_keys WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()))`, id).Scan(&ok)
	if err != nil {
		return false, fmt.Errorf("look up a key: %w", err)
	}
	return ok, nil
}

// Principal is the identity behind an API key.
type Principal struct {
	KeyID events.APIKeyID
	// TenantID is zero for an operator.
	TenantID events.TenantID
	// Scopes are empty if the key has all scopes.
	Scopes []string
	// RateLimit is the key's own limit in requests a second; 0: the server's limit.
	RateLimit int
	// Quota is what is set for the tenant.
	Quota Quota
}

// Operator reports whether the key is an operator's.
func (p *Principal) Operator() bool { return p.TenantID.IsZero() }

// May reports whether the key has a scope.
func (p *Principal) May(scope string) bool {
	return len(p.Scopes) == 0 || slices.Contains(p.Scopes, scope)
}

// Authenticate returns the identity behind a secret, and records the key's use at
// most once a minute. It returns [ErrUnauthenticated] if the secret is not a valid
// key's.
func Authenticate(ctx context.Context, db DB, secret string) (Principal, error) {
	var p Principal
	var stale bool
	into := append([]any{&p.KeyID, &p.TenantID, &p.Scopes, &p.RateLimit, &stale}, p.Quota.scan()...)
	err := db.QueryRow(ctx, `SELECT k.id, k.tenant_id, k.scopes, coalesce(k.rate_limit, 0), coalesce(k.last_used_at < now() - interval '1 minute', true), `+quotaColumns+`
		FROM fanmail.api_keys AS k LEFT JOIN fanmail.tenant_quotas AS q ON q.tenant_id = k.tenant_id
		WHERE k.secret_hash = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())`, hash(secret)).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return Principal{}, ErrUnauthenticated
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up a key: %w", err)
	}
	if stale {
		_, err = db.Exec(ctx, `UPDATE fanmail.api_keys SET last_used_at = now()
			WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')`, p.KeyID)
		if err != nil {
			return Principal{}, fmt.Errorf("record a key's use: %w", err)
		}
	}
	return p, nil
}

// Identify returns the identity behind a key that was authenticated before. It returns
// [ErrUnauthenticated] if the key is revoked or has expired since.
func Identify(ctx context.Context, db DB, id events.APIKeyID) (Principal, error) {
	p := Principal{KeyID: id}
	into := append([]any{&p.TenantID, &p.Scopes, &p.RateLimit}, p.Quota.scan()...)
	err := db.QueryRow(ctx, `SELECT k.tenant_id, k.scopes, coalesce(k.rate_limit, 0), `+quotaColumns+`
		FROM fanmail.api_keys AS k LEFT JOIN fanmail.tenant_quotas AS q ON q.tenant_id = k.tenant_id
		WHERE k.id = $1 AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())`, id).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return Principal{}, ErrUnauthenticated
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up a key: %w", err)
	}
	return p, nil
}

// Names returns the name of a key and of its tenant, which is empty for an operator's key.
func Names(ctx context.Context, db DB, id events.APIKeyID) (key, tenant string, err error) {
	err = db.QueryRow(ctx, `SELECT k.name, coalesce(t.name, '') FROM fanmail.api_keys AS k LEFT JOIN fanmail.tenants AS t ON t.id = k.tenant_id WHERE k.id = $1`, id).
		Scan(&key, &tenant)
	if err != nil {
		return "", "", fmt.Errorf("look up the names of a key: %w", err)
	}
	return key, tenant, nil
}

// KeepRevoked is how long the row of a revoked key is kept.
const KeepRevoked = 30 * 24 * time.Hour

// DeleteRevoked is a statement that deletes some of the keys that were revoked so many
// seconds ago.
const DeleteRevoked = `DELETE FROM fanmail.api_keys WHERE id = ANY (ARRAY(
	SELECT id FROM fanmail.api_keys WHERE revoked_at < now() - make_interval(secs => $1) LIMIT 5000))`
