package tenancy

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
)

// ImportedKey is an API key of another system, which goes on working.
type ImportedKey struct {
	ID        events.APIKeyID
	TenantID  events.TenantID
	Name      string
	Hash      []byte // SHA-256 of the secret
	CreatedAt time.Time
	RevokedAt *time.Time // nil: valid
	ExpiresAt *time.Time // nil: never
}

// ImportName returns the first of some names that is not blank, in the form that a tenant or key can have.
func ImportName(names ...string) string {
	for _, name := range names {
		name = strings.Map(func(r rune) rune {
			if unicode.IsControl(r) {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(name, "\uFFFD"))
		if name = strings.TrimSpace(name); name == "" || input.Text(name) != "" {
			continue
		}
		for len(name) > maxNameBytes {
			runes := []rune(name)
			name = strings.TrimSpace(string(runes[:len(runes)-1]))
		}
		return input.Shown(name)
	}
	return ""
}

// QueueImportTenants adds to a batch the insertion of tenants with their ids. One that exists stays as it is.
func QueueImportTenants(b *pgx.Batch, list []Tenant) {
	for _, t := range list {
		b.Queue(`INSERT INTO fanmail.tenants (id, name, created_at) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`, t.ID, t.Name, t.CreatedAt)
	}
}

// QueueImportKeys adds to a batch the insertion of keys. A key that exists is revoked or expires as the given one does,
// and is never made valid again. A secret that another key has keeps that key.
func QueueImportKeys(b *pgx.Batch, list []ImportedKey) {
	for i := range list {
		k := &list[i]
		b.Queue(`INSERT INTO fanmail.api_keys (id, tenant_id, name, secret_hash, created_at, revoked_at, expires_at)
			SELECT $1, $2, $3, $4, $5, $6, $7 WHERE NOT EXISTS (SELECT 1 FROM fanmail.api_keys WHERE secret_hash = $4 AND id <> $1)
			ON CONFLICT (id) DO UPDATE SET revoked_at = coalesce(api_keys.revoked_at, excluded.revoked_at), expires_at = least(api_keys.expires_at, excluded.expires_at)`,
			k.ID, k.TenantID, k.Name, k.Hash, k.CreatedAt, k.RevokedAt, k.ExpiresAt)
	}
}

// CountTenants returns how many of the tenants exist.
func CountTenants(ctx context.Context, db DB, ids []events.TenantID) (n int64, err error) {
	if err = db.QueryRow(ctx, `SELECT count(*) FROM fanmail.tenants WHERE id = ANY($1::uuid[])`, ids).Scan(&n); err != nil {
		return 0, fmt.Errorf("count tenants: %w", err)
	}
	return n, nil
}

// CountTheseKeys returns how many of the keys exist, revoked ones included.
func CountTheseKeys(ctx context.Context, db DB, ids []events.APIKeyID) (n int64, err error) {
	if err = db.QueryRow(ctx, `SELECT count(*) FROM fanmail.api_keys WHERE id = ANY($1::uuid[])`, ids).Scan(&n); err != nil {
		return 0, fmt.Errorf("count keys: %w", err)
	}
	return n, nil
}
