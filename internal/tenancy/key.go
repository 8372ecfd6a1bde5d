package tenancy

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/secret"
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
	ErrNoKey = errors.New("no such key")
)

// MaxNetworks bounds the networks of a key.
const MaxNetworks = 32

// prefixLength is how much of a secret is kept and shown, so that people tell keys apart:
// 36 of its 256 random bits.
const prefixLength = len(KeyPrefix) + 6

// Key is an API key, without its secret.
type Key struct {
	ID         events.APIKeyID  `json:"id" example:"key_0123456789abcdef0123456789abcdef"`
	TenantID   *events.TenantID `json:"tenant_id" nullable:"true" doc:"The tenant of the key; null for a key of an operator."`
	Name       string           `json:"name"`
	Scopes     []Role           `json:"scopes" enum:"admin,write,replay,read,send-only,consume" nullable:"false" doc:"The key's roles, which say what it may do."`
	Prefix     *string          `json:"prefix" example:"fm_Ab3xY9" doc:"How the secret begins; null for an imported key."`
	Networks   []netip.Prefix   `json:"networks" nullable:"false" doc:"The source addresses of the key's requests; empty for all."`
	RateLimit  *int             `json:"rate_limit" doc:"Requests a second; null for the limit of the server."`
	CreatedAt  time.Time        `json:"created_at"`
	LastUsedAt *time.Time       `json:"last_used_at" doc:"The last use; updated at most once a minute."`
	ExpiresAt  *time.Time       `json:"expires_at" doc:"From when on the key is refused; null for never."`
	RotatedAt  *time.Time       `json:"rotated_at" doc:"When the key got its present secret; null if it is the first one."`
	// PreviousUntil is until when the secret before the present one is accepted too.
	PreviousUntil *time.Time `json:"overlap_ends_at" doc:"Until when the key that was used before the last rotation is accepted too; null if it is not."`
}

// NewKey describes a key to create.
type NewKey struct {
	TenantID events.TenantID // zero: an operator's key
	Name     string          // UTF-8 without control characters, at most 200 bytes; may be empty
	Scopes   []Role          // none: [RoleAdmin]
	// RateLimit is how many requests a second the key may make, from 1 to
	// [MaxRateLimit]; 0: as many as the server allows.
	RateLimit int
	// Networks are the source addresses from which the key is accepted, at most
	// [MaxNetworks]; none: all.
	Networks []netip.Prefix
	// ExpiresAt is from when on the key is refused, in the future; zero: never.
	ExpiresAt time.Time
}

// validate checks the key and brings it into its stored form.
func (k *NewKey) validate() (err error) {
	if err := checkName(k.Name); err != nil {
		return err
	}
	if k.Scopes, err = checkRoles(k.Scopes, k.TenantID.IsZero()); err != nil {
		return err
	}
	if len(k.Networks) > MaxNetworks {
		return &events.FieldError{Field: "networks", Reason: fmt.Sprintf("has %d networks; the limit is %d", len(k.Networks), MaxNetworks)}
	}
	k.Networks = slices.Clone(k.Networks)
	for i, n := range k.Networks {
		if !n.IsValid() || n != n.Masked() || n.Addr().Is4In6() {
			return &events.FieldError{Field: fmt.Sprintf("networks[%d]", i), Reason: "must be a network such as 192.0.2.0/24 or 2001:db8::/32, without bits after its length"}
		}
	}
	if !k.ExpiresAt.IsZero() && !k.ExpiresAt.After(time.Now()) {
		return &events.FieldError{Field: "expires_at", Reason: "must lie in the future"}
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
	secret, prefix := newSecret()
	out := Key{ID: events.NewRandom[events.APIKeyKind](), Name: input.Shown(k.Name), Scopes: k.Scopes, Prefix: &prefix, Networks: append([]netip.Prefix{}, k.Networks...)}
	if !k.TenantID.IsZero() {
		out.TenantID = &k.TenantID
	}
	if k.RateLimit > 0 {
		out.RateLimit = &k.RateLimit
	}
	if !k.ExpiresAt.IsZero() {
		ends := k.ExpiresAt.UTC().Truncate(time.Microsecond) // the precision of Postgres
		out.ExpiresAt = &ends
	}
	err := db.QueryRow(ctx, `INSERT INTO fanmail.api_keys (id, tenant_id, name, scopes, secret_hash, rate_limit, prefix, networks, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING created_at`,
		out.ID, k.TenantID, out.Name, out.Scopes, hash(secret), out.RateLimit, prefix, out.Networks, out.ExpiresAt).Scan(&out.CreatedAt)
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

// newSecret returns a random secret and the part of it that is shown.
func newSecret() (secret, prefix string) {
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	secret = KeyPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	return secret, secret[:prefixLength]
}

// BootstrapOperatorKey makes an operator's key with all rights and returns its
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

const keyColumns = `id, tenant_id, name, scopes, rate_limit, created_at, last_used_at, expires_at, prefix, networks, rotated_at,
	CASE WHEN previous_until > now() THEN previous_until END`

func scanKey(row pgx.CollectableRow) (Key, error) {
	var k Key
	var tenant events.TenantID
	err := row.Scan(&k.ID, &tenant, &k.Name, &k.Scopes, &k.RateLimit, &k.CreatedAt, &k.LastUsedAt, &k.ExpiresAt, &k.Prefix, &k.Networks, &k.RotatedAt, &k.PreviousUntil)
	if !tenant.IsZero() {
		k.TenantID = &tenant
	}
	k.CreatedAt = k.CreatedAt.UTC()
	for _, at := range []**time.Time{&k.LastUsedAt, &k.ExpiresAt, &k.RotatedAt, &k.PreviousUntil} {
		if *at != nil {
			utc := (*at).UTC()
			*at = &utc
		}
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

// GetKey returns a key that is not revoked, of the tenant, or any if tenant is zero. It
// returns [ErrNoKey] if there is none. With lock, the key's row is locked until the
// transaction ends.
func GetKey(ctx context.Context, db DB, tenant events.TenantID, id events.APIKeyID, lock bool) (Key, error) {
	statement := `SELECT ` + keyColumns + ` FROM fanmail.api_keys WHERE id = $1 AND revoked_at IS NULL AND ($2::uuid IS NULL OR tenant_id = $2)`
	if lock {
		statement += ` FOR UPDATE`
	}
	rows, err := db.Query(ctx, statement, id, tenant)
	if err != nil {
		return Key{}, fmt.Errorf("read a key: %w", err)
	}
	k, err := pgx.CollectExactlyOneRow(rows, scanKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return Key{}, ErrNoKey
	}
	if err != nil {
		return Key{}, fmt.Errorf("read a key: %w", err)
	}
	return k, nil
}

// RotateKey gives a key a new secret and returns it. The secret before it is accepted
// for overlap; one that an earlier rotation left is not accepted any more. It returns
// [ErrNoKey] if the key does not exist or is revoked.
func RotateKey(ctx context.Context, db DB, id events.APIKeyID, overlap time.Duration) (Key, string, error) {
	secret, prefix := newSecret()
	rows, err := db.Query(ctx, `UPDATE fanmail.api_keys SET secret_hash = $2, prefix = $3, rotated_at = now(),
			previous_hash = CASE WHEN $4::float8 > 0 THEN secret_hash END, previous_until = CASE WHEN $4 > 0 THEN now() + make_interval(secs => $4) END
		WHERE id = $1 AND revoked_at IS NULL RETURNING `+keyColumns, id, hash(secret), prefix, overlap.Seconds())
	if err != nil {
		return Key{}, "", fmt.Errorf("rotate a key: %w", err)
	}
	k, err := pgx.CollectExactlyOneRow(rows, scanKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return Key{}, "", ErrNoKey
	}
	if err != nil {
		return Key{}, "", fmt.Errorf("rotate a key: %w", err)
	}
	return k, secret, nil
}

// Authenticate returns the identity behind a secret, and records the key's use at
// most once a minute. It returns [ErrUnauthenticated] if the secret is not a valid
// key's.
func Authenticate(ctx context.Context, db DB, key string) (Principal, error) {
	sum := hash(key)
	p, err := lookUp(ctx, db, `k.id = (SELECT id FROM fanmail.api_keys WHERE secret_hash = $1
		UNION ALL SELECT id FROM fanmail.api_keys WHERE previous_hash = $1 AND previous_until > now() LIMIT 1)`, sum)
	if err == nil {
		p.hash = secret.Text(sum)
	}
	return p, err
}

// tenantInUse is whether the tenant of a row k is not deleted; an operator's key has none.
const tenantInUse = `NOT EXISTS (SELECT 1 FROM fanmail.tenants AS t WHERE t.id = k.tenant_id AND t.deleted_at IS NOT NULL)`

// lookUp returns the identity of the valid key that a condition selects, and records its
// use.
func lookUp(ctx context.Context, db DB, condition string, args ...any) (Principal, error) {
	p := Principal{Kind: TenantCaller}
	var stale bool
	var roles []Role
	var expires *time.Time
	into := append([]any{&p.KeyID, &p.TenantID, &p.Actor, &roles, &p.RateLimit, &p.Networks, &expires, &stale}, p.Quota.scan()...)
	err := db.QueryRow(ctx, `SELECT k.id, k.tenant_id, k.name, k.scopes, coalesce(k.rate_limit, 0), k.networks, k.expires_at,
			coalesce(k.last_used_at < now() - interval '1 minute', true), `+quotaColumns+`
		FROM fanmail.api_keys AS k LEFT JOIN fanmail.tenant_quotas AS q ON q.tenant_id = k.tenant_id
		WHERE k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now()) AND `+tenantInUse+` AND `+condition, args...).Scan(into...)
	if errors.Is(err, pgx.ErrNoRows) {
		return Principal{}, ErrUnauthenticated
	}
	if err != nil {
		return Principal{}, fmt.Errorf("look up a key: %w", err)
	}
	if p.TenantID.IsZero() {
		p.Kind = OperatorCaller
	}
	p.Rights = RightsOf(roles)
	if expires != nil {
		p.ExpiresAt = expires.UTC()
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
