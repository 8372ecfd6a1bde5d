package eventtype

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

const (
	// listed leaves out what can be large.
	listed  = `tenant_id, name, description, deprecated, created_at, updated_at, schema IS NOT NULL AS has_schema, sample IS NOT NULL AS has_sample`
	columns = listed + `, schema, sample`

	// ofOperator compares with NULL, and ofTenant never does: each is an index of its own.
	ofOperator = ` FROM fanmail.event_types WHERE tenant_id IS NULL AND name = `
	ofTenant   = ` FROM fanmail.event_types WHERE tenant_id = `
)

func (t *Type) listed() []any {
	return []any{&t.TenantID, &t.Name, &t.Description, &t.Deprecated, &t.CreatedAt, &t.UpdatedAt, &t.HasSchema, &t.HasSample}
}

func (t *Type) columns() []any { return append(t.listed(), &t.Schema, &t.Sample) }

func (t *Type) inUTC() { t.CreatedAt, t.UpdatedAt = t.CreatedAt.UTC(), t.UpdatedAt.UTC() }

func scanListed(row pgx.CollectableRow) (t Type, err error) {
	err = row.Scan(t.listed()...)
	t.inUTC()
	return t, err
}

func scan(row pgx.CollectableRow) (t Type, err error) {
	err = row.Scan(t.columns()...)
	t.inUTC()
	return t, err
}

// one returns the row that a statement finds, or [ErrNotFound].
func one(ctx context.Context, db pg.DB, doing, statement string, args ...any) (Type, error) {
	rows, err := db.Query(ctx, statement, args...)
	if err != nil {
		return Type{}, fmt.Errorf("%s: %w", doing, err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, scan)
	if errors.Is(err, pgx.ErrNoRows) {
		return Type{}, ErrNotFound
	}
	if err != nil {
		return Type{}, fmt.Errorf("%s: %w", doing, err)
	}
	return t, nil
}

// operatorLock makes changes of the operator's types take turns.
const operatorLock = `SELECT pg_advisory_xact_lock(hashtextextended('fanmail.event_types', 0))`

// Insert inserts a type that [Type.Normalize] has accepted. It returns [ErrExists] if its owner has a type of the name, or
// the operator has one, a [*LimitError] if there are [MaxTypes], and [pgx.ErrNoRows] if there is no such tenant.
func Insert(ctx context.Context, tx pg.DB, t *Type) (Type, error) {
	own, operators, err := room(ctx, tx, t)
	switch {
	case own || operators:
		return Type{}, ErrExists
	case err != nil:
		return Type{}, err
	}
	return insert(ctx, tx, t)
}

// Restore is [Insert] for a tenant's type that comes from an export. made is false if the tenant has a type of the name. One
// of the operator's is no obstacle: the tenant's own counts for it.
func Restore(ctx context.Context, tx pg.DB, t *Type) (made bool, err error) {
	own, _, err := room(ctx, tx, t)
	if own || err != nil {
		return false, err
	}
	_, err = insert(ctx, tx, t)
	return err == nil, err
}

// room locks the types of an owner and says whether the owner and the operator have a type of the name. It returns a
// [*LimitError] if the owner has no room for another one, and no type of the name.
func room(ctx context.Context, tx pg.DB, t *Type) (own, operators bool, err error) {
	// The lock makes the count exact. The count needs a later snapshot: a statement of its own.
	if t.TenantID.IsZero() {
		_, err = tx.Exec(ctx, operatorLock)
	} else {
		err = tenancy.Lock(ctx, tx, t.TenantID)
	}
	if err != nil {
		return false, false, fmt.Errorf("lock the event types: %w", err)
	}
	have := 0
	err = tx.QueryRow(ctx, `SELECT (SELECT count(*)::int FROM fanmail.event_types WHERE tenant_id IS NOT DISTINCT FROM $1),
		EXISTS (SELECT 1`+ofTenant+`$1 AND name = $2), EXISTS (SELECT 1`+ofOperator+`$2)`, t.TenantID, t.Name).Scan(&have, &own, &operators)
	switch {
	case err != nil:
		return false, false, fmt.Errorf("count event types: %w", err)
	case !own && have >= MaxTypes:
		return false, operators, &LimitError{}
	}
	return own, operators, nil
}

func insert(ctx context.Context, tx pg.DB, t *Type) (Type, error) {
	return one(ctx, tx, "insert an event type", `INSERT INTO fanmail.event_types (tenant_id, name, description, schema, schema_hash, sample, deprecated)
		VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING `+columns, t.TenantID, t.Name, t.Description, []byte(t.Schema), hash(t.Schema), []byte(t.Sample), t.Deprecated)
}

// hash is what schema_hash holds of a schema; nil for none.
func hash(schema []byte) []byte {
	if schema == nil {
		return nil
	}
	sum := sha256.Sum256(schema)
	return sum[:]
}

// Lock reads a type of an owner, zero for the operator, for a change of it in the transaction. It returns [ErrNotFound].
func Lock(ctx context.Context, tx pg.DB, owner events.TenantID, name events.Type) (Type, error) {
	return one(ctx, tx, "lock an event type", `SELECT `+columns+` FROM fanmail.event_types WHERE tenant_id IS NOT DISTINCT FROM $1 AND name = $2 FOR UPDATE`, owner, name)
}

// Update stores a type that [Lock] has read and [Type.Normalize] has accepted.
func Update(ctx context.Context, tx pg.DB, t *Type) (Type, error) {
	return one(ctx, tx, "change an event type", `UPDATE fanmail.event_types SET description = $3, schema = $4, schema_hash = $5, sample = $6, deprecated = $7, updated_at = now()
		WHERE tenant_id IS NOT DISTINCT FROM $1 AND name = $2 RETURNING `+columns,
		t.TenantID, t.Name, t.Description, []byte(t.Schema), hash(t.Schema), []byte(t.Sample), t.Deprecated)
}

// Delete deletes a type that [Lock] has read.
func Delete(ctx context.Context, tx pg.DB, owner events.TenantID, name events.Type) error {
	if _, err := tx.Exec(ctx, `DELETE FROM fanmail.event_types WHERE tenant_id IS NOT DISTINCT FROM $1 AND name = $2`, owner, name); err != nil {
		return fmt.Errorf("delete an event type: %w", err)
	}
	return nil
}

const get = `SELECT * FROM (
	(SELECT 1 AS rank, ` + columns + ofTenant + `$1 AND name = $2)
	UNION ALL (SELECT 2, ` + columns + ofOperator + `$2)) AS t ORDER BY rank LIMIT 1`

// Get returns the type of a name as a tenant sees it, or [ErrNotFound]. The zero tenant sees the operator's types.
func Get(ctx context.Context, db pg.DB, tenant events.TenantID, name events.Type) (Type, error) {
	rows, err := db.Query(ctx, get, tenant, name)
	if err != nil {
		return Type{}, fmt.Errorf("read an event type: %w", err)
	}
	t, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (t Type, err error) {
		err = row.Scan(append([]any{nil}, t.columns()...)...)
		t.inUTC()
		return t, err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return Type{}, ErrNotFound
	}
	if err != nil {
		return Type{}, fmt.Errorf("read an event type: %w", err)
	}
	return t, nil
}

const list = `SELECT * FROM (
	(SELECT ` + listed + ofTenant + `$1 AND name > $2 AND $4 ORDER BY name LIMIT $3)
	UNION ALL (SELECT ` + listed + ` FROM fanmail.event_types AS o WHERE tenant_id IS NULL AND name > $2 AND $5
		AND NOT EXISTS (SELECT 1` + ofTenant + `$1 AND name = o.name) ORDER BY name LIMIT $3)) AS t ORDER BY name LIMIT $3`

// Which chooses types by whose they are.
type Which struct{ Own, Operator bool }

// List returns up to limit types that a tenant sees, whose names come after a name, in the order of the names' bytes.
// They have neither schema nor sample.
func List(ctx context.Context, db pg.DB, tenant events.TenantID, after string, limit int, which Which) ([]Type, error) {
	rows, err := db.Query(ctx, list, tenant, after, limit, which.Own, which.Operator)
	if err != nil {
		return nil, fmt.Errorf("list event types: %w", err)
	}
	found, err := pgx.CollectRows(rows, scanListed)
	if err != nil {
		return nil, fmt.Errorf("list event types: %w", err)
	}
	return found, nil
}

// WithOwn returns those of the tenants that have a type of the name of their own.
func WithOwn(ctx context.Context, db pg.DB, tenants []events.TenantID, name events.Type) (map[events.TenantID]bool, error) {
	rows, err := db.Query(ctx, `SELECT tenant_id FROM fanmail.event_types WHERE tenant_id = ANY ($1::uuid[]) AND name = $2`, tenants, name)
	if err != nil {
		return nil, fmt.Errorf("find the owners of an event type: %w", err)
	}
	own := map[events.TenantID]bool{}
	var id events.TenantID
	if _, err := pgx.ForEachRow(rows, []any{&id}, func() error { own[id] = true; return nil }); err != nil {
		return nil, fmt.Errorf("find the owners of an event type: %w", err)
	}
	return own, nil
}
