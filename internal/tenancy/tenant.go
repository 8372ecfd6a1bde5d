package tenancy

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
)

// maxNameBytes bounds the names of tenants and keys.
const maxNameBytes = 200

// DB runs statements: a pool, a connection, or a transaction to join.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Tenant is the account that owns agents, webhooks and keys.
type Tenant struct {
	ID        events.TenantID `json:"id" example:"ten_0123456789abcdef0123456789abcdef"`
	Name      string          `json:"name"`
	Operator  bool            `json:"operator" doc:"The tenant's webhooks get the operational events of all tenants."`
	CreatedAt time.Time       `json:"created_at"`

	DeletedAt *time.Time `json:"deleted_at" nullable:"true" doc:"Since when it is deleted: nobody may use it, and its data are erased when the grace period is over. null for a tenant that is in use."`

	AlertAddresses []string `json:"alert_addresses" doc:"Who gets a mail when a webhook of the tenant fails for an hour, is disabled or recovers."`
}

const tenantColumns = `id, name, operator, created_at, alert_addresses, deleted_at`

// NewTenant describes a tenant to create.
type NewTenant struct {
	Name string // required; UTF-8 without control characters, at most 200 bytes
	// Operator: the tenant's webhooks get the operational events of all tenants.
	Operator bool
}

// Position is a row's position in a list that is ordered newest first, in the
// form that Postgres compares: the list continues after it.
type Position struct {
	CreatedAt any // a timestamp
	ID        any // a uuid
}

// Create makes a tenant. Two tenants may have the same name. An invalid name is an
// [*events.FieldError].
func Create(ctx context.Context, db DB, n NewTenant) (Tenant, error) {
	if strings.TrimSpace(n.Name) == "" {
		return Tenant{}, &events.FieldError{Field: "name", Reason: "is required"}
	}
	if err := checkName(n.Name); err != nil {
		return Tenant{}, err
	}
	t := Tenant{ID: events.NewRandom[events.TenantKind](), Name: input.Shown(n.Name), Operator: n.Operator, AlertAddresses: []string{}}
	err := db.QueryRow(ctx, `INSERT INTO fanmail.tenants (id, name, operator) VALUES ($1, $2, $3) RETURNING created_at`, t.ID, t.Name, t.Operator).Scan(&t.CreatedAt)
	if err != nil {
		return Tenant{}, fmt.Errorf("insert a tenant: %w", err)
	}
	t.CreatedAt = t.CreatedAt.UTC()
	return t, nil
}

// checkName returns an [*events.FieldError] for an invalid name. An empty one is
// valid.
func checkName(name string) error {
	if len(name) > maxNameBytes {
		return &events.FieldError{Field: "name", Reason: fmt.Sprintf("has %d bytes; the limit is %d", len(name), maxNameBytes)}
	}
	if strings.ContainsFunc(name, unicode.IsControl) { // NUL is one
		return &events.FieldError{Field: "name", Reason: "holds a control character"}
	}
	if fault := input.Text(name); fault != "" {
		return &events.FieldError{Field: "name", Reason: fault}
	}
	return nil
}

// List returns up to limit tenants after a position, newest first.
func List(ctx context.Context, db DB, after Position, limit int) ([]Tenant, error) {
	rows, err := db.Query(ctx, `SELECT `+tenantColumns+` FROM fanmail.tenants WHERE (created_at, id) < ($1, $2)
		ORDER BY created_at DESC, id DESC LIMIT $3`, after.CreatedAt, after.ID, limit)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	found, err := pgx.CollectRows(rows, scanTenant)
	if err != nil {
		return nil, fmt.Errorf("list tenants: %w", err)
	}
	return found, nil
}

func scanTenant(row pgx.CollectableRow) (t Tenant, err error) {
	err = row.Scan(&t.ID, &t.Name, &t.Operator, &t.CreatedAt, &t.AlertAddresses, &t.DeletedAt)
	t.CreatedAt = t.CreatedAt.UTC()
	if t.DeletedAt != nil {
		at := t.DeletedAt.UTC()
		t.DeletedAt = &at
	}
	return t, err
}

// Lock makes other callers of Lock for the tenant wait until tx ends. It blocks no
// inserts of rows that refer to the tenant. It returns [pgx.ErrNoRows] if there is
// no such tenant.
func Lock(ctx context.Context, tx DB, id events.TenantID) error {
	return tx.QueryRow(ctx, `SELECT id FROM fanmail.tenants WHERE id = $1 FOR NO KEY UPDATE`, id).Scan(&id)
}

// QueueKnown adds the lookup of tenants to a batch. When the batch's results are
// read, it sets known[id] for each tenant that exists and is not deleted.
func QueueKnown(b *pgx.Batch, ids []events.TenantID, known map[events.TenantID]bool) {
	b.Queue(`SELECT id FROM fanmail.tenants WHERE id = ANY($1::uuid[]) AND deleted_at IS NULL`, ids).Query(func(rows pgx.Rows) error {
		var id events.TenantID
		_, err := pgx.ForEachRow(rows, []any{&id}, func() error { known[id] = true; return nil })
		return err
	})
}

// SelectOperators is a query for the ids of the operators' tenants, for statements
// that join them. Its column is "id".
const SelectOperators = `SELECT id FROM fanmail.tenants WHERE operator`

// TenantNames returns the names of the tenants that exist. It reads a row for each id.
func TenantNames(ctx context.Context, db DB, ids []events.TenantID) (map[events.TenantID]string, error) {
	rows, err := db.Query(ctx, `SELECT id, name FROM fanmail.tenants WHERE id = ANY($1::uuid[])`, ids)
	if err != nil {
		return nil, fmt.Errorf("read tenants' names: %w", err)
	}
	names := make(map[events.TenantID]string, len(ids))
	var id events.TenantID
	var name string
	if _, err := pgx.ForEachRow(rows, []any{&id, &name}, func() error { names[id] = name; return nil }); err != nil {
		return nil, fmt.Errorf("read tenants' names: %w", err)
	}
	return names, nil
}
