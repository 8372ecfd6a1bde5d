package tenancy

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// The limits of portal links.
const (
	// PortalLifetime is how long a link is valid for which nothing else is asked.
	PortalLifetime = time.Hour
	// MaxPortalLifetime is the longest that a link can be valid.
	MaxPortalLifetime = 30 * 24 * time.Hour
	// MaxPortalWebhooks bounds the webhooks of a link.
	MaxPortalWebhooks = 20
	// MaxPortalLinks bounds the valid links of a tenant.
	MaxPortalLinks = 10_000
	// portalRate is how many requests a second the holders of one link may make to each
	// process, so that a link costs the tenant a small part of its own rate limit.
	portalRate = 20
)

// portalTokenLength is the length of a link's token: 32 random bytes in base64url.
const portalTokenLength = 43

// ErrNoPortal means that a link does not exist, is revoked, or has expired.
var ErrNoPortal = errors.New("no such portal link")

// Portal is a link to a view of chosen webhooks, for a tenant's customers.
type Portal struct {
	ID        events.PortalID    `json:"id" example:"ptl_0123456789abcdef0123456789abcdef"`
	TenantID  events.TenantID    `json:"-"`
	Webhooks  []events.WebhookID `json:"webhook_ids" nullable:"false"`
	Origins   []string           `json:"origins" nullable:"false" doc:"The origins whose pages may embed the view."`
	Theme     Theme              `json:"theme"`
	CreatedBy *events.APIKeyID   `json:"created_by" nullable:"true" doc:"The key that created the link; null for a member who was signed in."`
	CreatedAt time.Time          `json:"created_at"`
	ExpiresAt time.Time          `json:"expires_at"`
}

// NewPortal describes a link to create. The webhooks must be the tenant's.
type NewPortal struct {
	TenantID  events.TenantID
	Webhooks  []events.WebhookID // 1 to [MaxPortalWebhooks]
	Origins   []string
	Theme     Theme
	CreatedBy events.APIKeyID // zero: a member
	Lifetime  time.Duration   // 0: [PortalLifetime]; at most [MaxPortalLifetime]
	AllowHTTP bool            // origins on this machine may be plain HTTP
}

func (n *NewPortal) validate() error {
	if len(n.Webhooks) == 0 || len(n.Webhooks) > MaxPortalWebhooks {
		return &events.FieldError{Field: "webhook_ids", Reason: fmt.Sprintf("must name 1 to %d webhooks", MaxPortalWebhooks)}
	}
	if n.Lifetime == 0 {
		n.Lifetime = PortalLifetime
	}
	if n.Lifetime < time.Minute || n.Lifetime > MaxPortalLifetime {
		return &events.FieldError{Field: "expires_in", Reason: fmt.Sprintf("must be from 1m to %.0fh", MaxPortalLifetime.Hours())}
	}
	if err := checkOrigins(n.Origins, n.AllowHTTP); err != nil {
		return err
	}
	return n.Theme.validate()
}

// CreatePortal makes a link and returns it with its token, of which only a hash is
// stored. What is invalid is an [*events.FieldError].
func CreatePortal(ctx context.Context, db DB, n NewPortal) (Portal, string, error) {
	if err := n.validate(); err != nil {
		return Portal{}, "", err
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	token := base64.RawURLEncoding.EncodeToString(raw[:])
	p := Portal{
		ID: events.NewRandom[events.PortalKind](), TenantID: n.TenantID, Webhooks: n.Webhooks,
		Origins: append([]string{}, n.Origins...), Theme: n.Theme,
	}
	if !n.CreatedBy.IsZero() {
		p.CreatedBy = &n.CreatedBy
	}
	err := db.QueryRow(ctx, `INSERT INTO fanmail.portal_links (id, tenant_id, webhook_ids, token_hash, origins, theme, created_by, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8)) RETURNING created_at, expires_at`,
		p.ID, p.TenantID, p.Webhooks, hash(token), p.Origins, p.Theme, n.CreatedBy, n.Lifetime.Seconds()).Scan(&p.CreatedAt, &p.ExpiresAt)
	if err != nil {
		return Portal{}, "", fmt.Errorf("insert a portal link: %w", err)
	}
	p.CreatedAt, p.ExpiresAt = p.CreatedAt.UTC(), p.ExpiresAt.UTC()
	return p, token, nil
}

// CountPortals returns how many links of a tenant are valid, and counts no further than
// limit. Under [Lock] the number is exact until the transaction ends.
func CountPortals(ctx context.Context, db DB, tenant events.TenantID, limit int64) (n int64, err error) {
	err = db.QueryRow(ctx, `SELECT count(*) FROM (SELECT FROM fanmail.portal_links WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > now() LIMIT $2) AS l`,
		tenant, limit).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("count portal links: %w", err)
	}
	return n, nil
}

const portalColumns = `id, tenant_id, webhook_ids, origins, theme, created_by, created_at, expires_at`

func scanPortal(row pgx.CollectableRow) (p Portal, err error) {
	var by events.APIKeyID
	err = row.Scan(&p.ID, &p.TenantID, &p.Webhooks, &p.Origins, &p.Theme, &by, &p.CreatedAt, &p.ExpiresAt)
	if !by.IsZero() {
		p.CreatedBy = &by
	}
	p.CreatedAt, p.ExpiresAt = p.CreatedAt.UTC(), p.ExpiresAt.UTC()
	return p, err
}

// The valid links are at most MaxPortalLinks; those that have ended may be many more, so the index on the expiry finds
// them before they are put in order.
const listPortals = `
WITH valid AS MATERIALIZED (
	SELECT id, created_at FROM fanmail.portal_links WHERE tenant_id = $1 AND revoked_at IS NULL AND expires_at > now()
), wanted AS MATERIALIZED (
	SELECT id AS wanted_id FROM valid WHERE (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4
)
SELECT ` + portalColumns + ` FROM wanted JOIN fanmail.portal_links ON id = wanted_id ORDER BY created_at DESC, id DESC`

// ListPortals returns up to limit links of a tenant that are neither revoked nor
// expired, after a position, newest first. It ends early after [pg.PageBytes] of them, and more then
// says that others come after the last one.
func ListPortals(ctx context.Context, db DB, tenant events.TenantID, after Position, limit int) (list []Portal, more bool, err error) {
	rows, err := db.Query(ctx, listPortals, tenant, after.CreatedAt, after.ID, limit)
	if err != nil {
		return nil, false, fmt.Errorf("list portal links: %w", err)
	}
	if list, more, err = pg.CollectPage(rows, scanPortal); err != nil {
		return nil, false, fmt.Errorf("list portal links: %w", err)
	}
	return list, more, nil
}

// RevokePortal revokes a link of a tenant and returns it. It returns [ErrNoPortal] if
// there is none to revoke.
func RevokePortal(ctx context.Context, db DB, tenant events.TenantID, id events.PortalID) (Portal, error) {
	return onePortal(ctx, db, `UPDATE fanmail.portal_links SET revoked_at = now() WHERE tenant_id = $1 AND id = $2 AND revoked_at IS NULL AND expires_at > now()
		RETURNING `+portalColumns, tenant, id)
}

// OpenPortal returns the link with a token, and the identity of whoever has it. That
// identity sees the link's webhooks alone. It returns [ErrNoPortal] if there is no such
// link, or if it is revoked or has expired.
func OpenPortal(ctx context.Context, db DB, token string) (Portal, Principal, error) {
	if len(token) != portalTokenLength {
		return Portal{}, Principal{}, ErrNoPortal
	}
	link, err := onePortal(ctx, db, `SELECT `+portalColumns+` FROM fanmail.portal_links AS k WHERE token_hash = $1 AND revoked_at IS NULL AND expires_at > now() AND `+tenantInUse, hash(token))
	if err != nil {
		return Portal{}, Principal{}, err
	}
	return link, link.principal(), nil
}

func onePortal(ctx context.Context, db DB, statement string, args ...any) (Portal, error) {
	rows, err := db.Query(ctx, statement, args...)
	if err != nil {
		return Portal{}, fmt.Errorf("read a portal link: %w", err)
	}
	link, err := pgx.CollectExactlyOneRow(rows, scanPortal)
	if errors.Is(err, pgx.ErrNoRows) {
		return Portal{}, ErrNoPortal
	}
	if err != nil {
		return Portal{}, fmt.Errorf("read a portal link: %w", err)
	}
	return link, nil
}

func (p *Portal) principal() Principal {
	return Principal{
		Kind: PortalCaller, PortalID: p.ID, TenantID: p.TenantID, Rights: Read | Redeliver, RateLimit: portalRate,
		Webhooks: p.Webhooks, ExpiresAt: p.ExpiresAt, Actor: p.ID.String(),
	}
}

// portalByID returns the identity of whoever has a link, by the link's id, with its
// tenant's quota.
func portalByID(ctx context.Context, db DB, id events.PortalID) (Principal, error) {
	link, err := onePortal(ctx, db, `SELECT `+portalColumns+` FROM fanmail.portal_links WHERE id = $1 AND revoked_at IS NULL AND expires_at > now()`, id)
	if errors.Is(err, ErrNoPortal) {
		return Principal{}, ErrUnauthenticated
	}
	if err != nil {
		return Principal{}, err
	}
	p := link.principal()
	p.Quota, err = quotaInUse(ctx, db, p.TenantID)
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrUnauthenticated
	}
	return p, err
}

// DeletePortals is a statement that deletes some of the links that ended so many seconds
// ago.
const DeletePortals = `DELETE FROM fanmail.portal_links WHERE id = ANY (ARRAY(
	SELECT id FROM fanmail.portal_links WHERE expires_at < now() - make_interval(secs => $1) LIMIT 5000))`

// KeepPortals is how long the row of a link is kept that has expired.
const KeepPortals = 30 * 24 * time.Hour
