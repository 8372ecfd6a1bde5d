package erasure

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
	"github.com/fanmail-dev/fanmail/internal/mailsearch"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// Kind is what an erasure removes.
type Kind string

// The kinds.
const (
	Message Kind = "message" // a message, and the events that name it
	Tenant  Kind = "tenant"  // all that a tenant has, and the tenant
	Address Kind = "address" // each event from or to an address, with its message
)

// State is how far an erasure is.
type State string

// The states.
const (
	Waiting   State = "waiting" // for the end of the grace period
	Running   State = "running"
	Completed State = "completed"
	Cancelled State = "cancelled" // the tenant was restored
)

// MaxUnfinished bounds the erasures of a tenant that have not ended.
const MaxUnfinished = 1000

// Settle is how long a worker waits between the passes of an erasure. Messages of DELIVERIES, attempts and publications
// do not last that long.
const Settle = 2 * time.Minute

// Retention is how long an erasure that has ended can be read.
const Retention = 365 * 24 * time.Hour

// Erasure is what was asked for, and the proof of what was removed.
type Erasure struct {
	ID          events.ErasureID  `json:"id" example:"era_0123456789abcdef0123456789abcdef"`
	TenantID    events.TenantID   `json:"tenant_id"`
	Kind        Kind              `json:"kind" enum:"message,address,tenant"`
	MessageID   *events.MessageID `json:"message_id" nullable:"true" doc:"The message; null for a tenant, and for an address, which is not shown."`
	State       State             `json:"state" enum:"waiting,running,completed,cancelled"`
	RequestedAt time.Time         `json:"requested_at" doc:"Mail that comes later is not part of it."`
	RequestedBy string            `json:"requested_by" doc:"The id of the key that asked, or the subject of the member."`
	DueAt       *time.Time        `json:"due_at" doc:"When the grace period of a tenant is over: it can be restored until then. It never moves. null for a message and an address."`
	FinishedAt  *time.Time        `json:"finished_at" doc:"When all was removed, or the tenant restored; null before."`
	NotSearched int64             `json:"not_searched" doc:"Of an address: how many events that lack addresses, by their truncated, could not be searched in full, because the raw mail is gone or does not have them. They stay."`
	Removed     map[string]int64  `json:"removed" doc:"How many of each were removed so far: events, outbox, deliveries, blanked_deliveries, attempts, agent_deliveries, messages, raw_mails, blobs, stream_messages. Those of which there were none are left out."`
}

const columns = `id, tenant_id, kind, message_id, requested_at, requested_by, finished_at, removed, phase, begins_at, begins_at > now(), not_searched`

func scan(row pgx.CollectableRow) (Erasure, error) {
	var e Erasure
	var message events.MessageID
	var at string // the phase
	var waits *bool
	err := row.Scan(&e.ID, &e.TenantID, &e.Kind, &message, &e.RequestedAt, &e.RequestedBy, &e.FinishedAt, &e.Removed, &at, &e.DueAt, &waits, &e.NotSearched)
	if !message.IsZero() {
		e.MessageID = &message
	}
	e.State, e.RequestedAt = Running, e.RequestedAt.UTC()
	if e.DueAt != nil {
		due := e.DueAt.UTC()
		if e.DueAt = &due; waits != nil && *waits {
			e.State = Waiting
		}
	}
	if e.FinishedAt != nil {
		ended := e.FinishedAt.UTC()
		if e.State, e.FinishedAt = Completed, &ended; at == string(Cancelled) {
			e.State = Cancelled
		}
	}
	return e, err
}

// OfMessage asks to erase a message of the tenant. The caller has checked that the tenant has it.
func OfMessage(ctx context.Context, tx pg.DB, tenant events.TenantID, message events.MessageID, by string) (Erasure, error) {
	return request(ctx, tx, tenant, Message, message, "", 0, by)
}

// OfAddress asks to erase the mail from and to an address that the tenant has until now. Letters of either case are the
// same. A text that is no address is an [*events.FieldError].
func OfAddress(ctx context.Context, tx pg.DB, tenant events.TenantID, address, by string) (Erasure, error) {
	if err := checkAddress(address); err != nil {
		return Erasure{}, err
	}
	return request(ctx, tx, tenant, Address, events.MessageID{}, address, 0, by)
}

// The grace period of a tenant: by default, and its bounds.
const (
	Grace         = 7 * 24 * time.Hour
	ShortestGrace = time.Minute
	LongestGrace  = 30 * 24 * time.Hour
)

// OfTenant asks to erase a tenant after a time.
func OfTenant(ctx context.Context, tx pg.DB, tenant events.TenantID, grace time.Duration, by string) (Erasure, error) {
	return request(ctx, tx, tenant, Tenant, events.MessageID{}, "", grace, by)
}

const cancel = `
UPDATE fanmail.erasures SET phase = 'cancelled', finished_at = now()
WHERE tenant_id = $1 AND kind = 'tenant' AND finished_at IS NULL AND begins_at > clock_timestamp()`

// Cancel cancels the erasure of a tenant, and reports whether there was one whose grace period is not over.
func Cancel(ctx context.Context, tx pg.DB, tenant events.TenantID) (bool, error) {
	tag, err := tx.Exec(ctx, cancel, tenant)
	if err != nil {
		return false, fmt.Errorf("cancel an erasure: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// OfTenantNow returns the erasure of a tenant that has not ended. Without one it returns [pgx.ErrNoRows].
func OfTenantNow(ctx context.Context, db pg.DB, tenant events.TenantID) (Erasure, error) {
	rows, err := db.Query(ctx, `SELECT `+columns+` FROM fanmail.erasures WHERE tenant_id = $1 AND kind = 'tenant' AND finished_at IS NULL`, tenant)
	if err != nil {
		return Erasure{}, fmt.Errorf("read an erasure: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, scan)
	if err != nil {
		return Erasure{}, fmt.Errorf("read an erasure: %w", err)
	}
	return e, nil
}

const maxAddressBytes = 254

func checkAddress(address string) error {
	fault := func(reason string) error { return &events.FieldError{Field: "address", Reason: reason} }
	if len(address) > maxAddressBytes {
		return fault(fmt.Sprintf("has %d bytes; the limit is %d", len(address), maxAddressBytes))
	}
	if wrong := input.Text(address); wrong != "" {
		return fault(wrong)
	}
	if _, ok := mailsearch.Whole(address); !ok {
		return fault("must be one whole address, such as ann@example.com, without a name")
	}
	return nil
}

func request(ctx context.Context, tx pg.DB, tenant events.TenantID, kind Kind, message events.MessageID, address string, grace time.Duration, by string) (Erasure, error) {
	rows, err := tx.Query(ctx, `INSERT INTO fanmail.erasures (id, tenant_id, kind, message_id, address, requested_by, due_at, begins_at)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6, now() + make_interval(secs => $7), CASE WHEN $3 = 'tenant' THEN now() + make_interval(secs => $7) END) RETURNING `+columns,
		events.NewRandom[events.ErasureKind](), tenant, string(kind), message, address, by, grace.Seconds())
	if err != nil {
		return Erasure{}, fmt.Errorf("ask for an erasure: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, scan)
	if err != nil {
		return Erasure{}, fmt.Errorf("ask for an erasure: %w", err)
	}
	return e, nil
}

// CountUnfinished returns how many erasures of a tenant have not ended.
func CountUnfinished(ctx context.Context, db pg.DB, tenant events.TenantID) (n int64, err error) {
	err = db.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM fanmail.erasures WHERE tenant_id = $1 AND finished_at IS NULL LIMIT $2) AS e`, tenant, MaxUnfinished).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count erasures: %w", err)
	}
	return n, nil
}

// Get returns an erasure of the tenant, or any if tenant is zero. Without one it returns [pgx.ErrNoRows].
func Get(ctx context.Context, db pg.DB, tenant events.TenantID, id events.ErasureID) (Erasure, error) {
	rows, err := db.Query(ctx, `SELECT `+columns+` FROM fanmail.erasures WHERE id = $1`, id)
	if err != nil {
		return Erasure{}, fmt.Errorf("read an erasure: %w", err)
	}
	e, err := pgx.CollectExactlyOneRow(rows, scan)
	if err == nil && !tenant.IsZero() && e.TenantID != tenant {
		err = pgx.ErrNoRows
	}
	if err != nil {
		return Erasure{}, fmt.Errorf("read an erasure: %w", err)
	}
	return e, nil
}

// List returns up to limit erasures of the tenant after a place, newest first, or those of all tenants if tenant is zero.
func List(ctx context.Context, db pg.DB, tenant events.TenantID, after pg.Place, limit int) ([]Erasure, error) {
	at, id := after.Bound()
	statement, args := `SELECT `+columns+` FROM fanmail.erasures WHERE (requested_at, id) < ($1, $2) ORDER BY requested_at DESC, id DESC LIMIT $3`, []any{at, id, limit}
	if !tenant.IsZero() {
		statement, args = strings.Replace(statement, "WHERE", "WHERE tenant_id = $4 AND", 1), append(args, tenant)
	}
	rows, err := db.Query(ctx, statement, args...)
	if err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("list erasures: %w", err)
	}
	return list, nil
}
