package eventtype

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Hash is the SHA-256 of a schema as it is stored; zero for none.
type Hash [32]byte

// Key names a type as a tenant sees it.
type Key struct {
	TenantID events.TenantID
	Name     events.Type
}

const lookUp = `
SELECT w.tenant_id, w.name, coalesce(t.schema_hash, '') FROM unnest($1::uuid[], $2::text[]) AS w (tenant_id, name)
CROSS JOIN LATERAL (SELECT schema_hash FROM (
	(SELECT 1 AS rank, schema_hash` + ofTenant + `w.tenant_id AND name = w.name)
	UNION ALL (SELECT 2, schema_hash` + ofOperator + `w.name)) AS either ORDER BY rank LIMIT 1) AS t`

// LookUp returns which of the types there are, each with the hash of its schema. It is one statement; nil for no keys. It
// also serves callers whose connections don't know the ids of package events.
func LookUp(ctx context.Context, db pg.DB, keys []Key) (map[Key]Hash, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	tenants, names := make([]pgtype.UUID, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		tenants[i], names[i] = pgtype.UUID{Bytes: k.TenantID, Valid: true}, string(k.Name)
	}
	rows, err := db.Query(ctx, lookUp, tenants, names)
	if err != nil {
		return nil, fmt.Errorf("look up event types: %w", err)
	}
	found := make(map[Key]Hash, len(keys))
	var tenant pgtype.UUID
	var name string
	var sum []byte
	_, err = pgx.ForEachRow(rows, []any{&tenant, &name, &sum}, func() error {
		var h Hash
		copy(h[:], sum)
		found[Key{tenant.Bytes, events.Type(name)}] = h
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look up event types: %w", err)
	}
	return found, nil
}

const schemaOf = `
SELECT schema, coalesce(schema_hash, '') FROM (
	(SELECT 1 AS rank, schema, schema_hash` + ofTenant + `$1 AND name = $2)
	UNION ALL (SELECT 2, schema, schema_hash` + ofOperator + `$2)) AS either ORDER BY rank LIMIT 1`

// SchemaOf reads the present schema of a type and its hash; nil and zero for none. It returns [ErrNotFound].
func SchemaOf(ctx context.Context, db pg.DB, k Key) (schema json.RawMessage, h Hash, err error) {
	var sum []byte
	err = db.QueryRow(ctx, schemaOf, k.TenantID, k.Name).Scan(&schema, &sum)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, h, ErrNotFound
	}
	if err != nil {
		return nil, h, fmt.Errorf("read a schema: %w", err)
	}
	copy(h[:], sum)
	return schema, h, nil
}

const hold = `
WITH held AS MATERIALIZED (
	SELECT name FROM fanmail.event_types WHERE tenant_id = $1 AND name = ANY ($2::text[]) FOR KEY SHARE
), shared AS MATERIALIZED (
	SELECT name FROM fanmail.event_types WHERE tenant_id IS NULL AND name = ANY ($2::text[]) FOR KEY SHARE
)
SELECT w.name FROM unnest($2::text[]) WITH ORDINALITY AS w (name, n)
WHERE w.name NOT IN (SELECT name FROM held) AND w.name NOT IN (SELECT name FROM shared) ORDER BY w.n LIMIT 1`

// Hold keeps types from being deleted until the transaction ends. It returns the first of the names that is no type of the
// tenant, "" for none. Names of the catalogue and patterns don't count.
func Hold(ctx context.Context, tx pg.DB, tenant events.TenantID, names []events.Type) (missing events.Type, err error) {
	var own []events.Type
	for _, n := range names {
		if !n.Known() && !n.Pattern() {
			own = append(own, n)
		}
	}
	if len(own) == 0 {
		return "", nil
	}
	err = tx.QueryRow(ctx, hold, tenant, own).Scan(&missing)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up event types: %w", err)
	}
	return missing, nil
}

// FirstOf returns the first type, by name, that a tenant sees and a pattern selects; "" for none.
func FirstOf(ctx context.Context, db pg.DB, tenant events.TenantID, pattern events.Type) (events.Type, error) {
	prefix := string(pattern[:len(pattern)-1])
	found, err := List(ctx, db, tenant, prefix, 1, Which{Own: true, Operator: true})
	if err != nil || len(found) == 0 || !pattern.Selects(found[0].Name) {
		return "", err
	}
	return found[0].Name, nil
}
