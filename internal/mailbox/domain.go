package mailbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/net/idna"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/pg"
)

// EveryDomain is the name of a domain that stands for every domain that no other
// tenant has. An operator gives it to one tenant at most.
const EveryDomain = "*"

// Quarantine is how long a released address or domain stays refused to other
// tenants: mail for its last owner may still arrive.
const Quarantine = 30 * 24 * time.Hour

// Domain is a mail domain of a tenant. The tenant may have agents on it and on its
// subdomains once it is verified, unless a more specific domain is another
// tenant's.
type Domain struct {
	// Name is in lower case, and in ASCII (xn--) where it is international.
	Name     string
	TenantID events.TenantID
	// Token is what a TXT record proves the domain with.
	Token      string
	VerifiedAt *time.Time // nil: not verified
	CreatedAt  time.Time
}

var (
	// ErrDomainTaken means that another tenant has verified the domain.
	ErrDomainTaken = errors.New("the domain belongs to another tenant")
	// ErrDomainReleased means that another tenant has released the domain, or one above
	// it, less than [Quarantine] ago.
	ErrDomainReleased = errors.New("the domain, or one above it, was released by another tenant less than 30 days ago; an operator can give it before that")
	// ErrDomainInUse means that the tenant has agents on the domain.
	ErrDomainInUse = errors.New("the tenant has agents on the domain: delete them first")
)

const domainColumns = `name, tenant_id, token, verified_at, created_at`

func scanDomain(row pgx.CollectableRow) (Domain, error) {
	var d Domain
	err := row.Scan(&d.Name, &d.TenantID, &d.Token, &d.VerifiedAt, &d.CreatedAt)
	d.CreatedAt = d.CreatedAt.UTC()
	if d.VerifiedAt != nil {
		*d.VerifiedAt = d.VerifiedAt.UTC()
	}
	return d, err
}

// CleanDomain returns a domain's name as it is stored, or an [*events.FieldError].
func CleanDomain(name string) (string, error) {
	bad := &events.FieldError{Field: "domain", Reason: "is not a domain of mail addresses, such as example.com"}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(strings.TrimSpace(name), "."))
	if err != nil || len(ascii) > 253 || !strings.Contains(ascii, ".") {
		return "", bad
	}
	if _, err := netip.ParseAddr(ascii); err == nil {
		return "", bad
	}
	return ascii, nil
}

// ClaimDomain creates a domain of the tenant that is not verified, or returns the
// tenant's own of that name. Any number of tenants may claim one.
func ClaimDomain(ctx context.Context, db pg.DB, tenant events.TenantID, name string) (Domain, error) {
	return oneDomain(ctx, db, `INSERT INTO fanmail.domains (tenant_id, name, token) VALUES ($1, $2, $3)
		ON CONFLICT (name, tenant_id) DO UPDATE SET name = excluded.name RETURNING `+domainColumns, tenant, name, strings.ToLower(rand.Text()))
}

// GiveDomain gives a verified domain, or [EveryDomain], to a tenant, on an
// operator's word. A quarantine of the name and of its agent *@ ends; one of a name
// below, or of another address, stays. It returns [ErrDomainTaken].
func GiveDomain(ctx context.Context, tx pgx.Tx, tenant events.TenantID, name string) (Domain, error) {
	if _, err := ClaimDomain(ctx, tx, tenant, name); err != nil {
		return Domain{}, err
	}
	if err := checkTaken(ctx, tx, tenant, name); err != nil {
		return Domain{}, err
	}
	if _, err := tx.Exec(ctx, `DELETE FROM fanmail.released_names WHERE name = $1 OR name = '*@' || $1`, name); err != nil {
		return Domain{}, fmt.Errorf("give a domain: %w", err)
	}
	return markVerified(ctx, tx, tenant, name)
}

// VerifyDomain marks a domain of the tenant as verified. The caller has proof of
// it. It returns [ErrDomainTaken], [ErrDomainReleased] or [pgx.ErrNoRows].
func VerifyDomain(ctx context.Context, tx pgx.Tx, tenant events.TenantID, name string) (Domain, error) {
	if err := checkTaken(ctx, tx, tenant, name); err != nil {
		return Domain{}, err
	}
	var released bool
	err := tx.QueryRow(ctx, `SELECT `+inQuarantine, tenant, above(name), above(name), Quarantine.Seconds()).Scan(&released)
	if err != nil {
		return Domain{}, fmt.Errorf("verify a domain: %w", err)
	}
	if released {
		return Domain{}, ErrDomainReleased
	}
	return markVerified(ctx, tx, tenant, name)
}

// checkTaken returns [ErrDomainTaken] if another tenant has verified the domain.
func checkTaken(ctx context.Context, tx pgx.Tx, tenant events.TenantID, name string) error {
	// One name at a time: two tenants may verify it at the same moment.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended($1, 11))`, name); err != nil {
		return fmt.Errorf("verify a domain: %w", err)
	}
	var taken bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.domains WHERE name = $2 AND tenant_id <> $1 AND verified_at IS NOT NULL)`, tenant, name).Scan(&taken)
	if err != nil {
		return fmt.Errorf("verify a domain: %w", err)
	}
	if taken {
		return ErrDomainTaken
	}
	return nil
}

func markVerified(ctx context.Context, tx pgx.Tx, tenant events.TenantID, name string) (Domain, error) {
	return oneDomain(ctx, tx, `UPDATE fanmail.domains SET verified_at = coalesce(verified_at, now()) WHERE tenant_id = $1 AND name = $2 RETURNING `+domainColumns, tenant, name)
}

// ListDomains returns up to limit domains of the tenant, by name, that come after
// a name.
func ListDomains(ctx context.Context, db pg.DB, tenant events.TenantID, after string, limit int) ([]Domain, error) {
	return readDomains(ctx, db, `SELECT `+domainColumns+` FROM fanmail.domains WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3`, tenant, after, limit)
}

// CountDomains returns how many domains a tenant has, verified or not.
func CountDomains(ctx context.Context, db pg.DB, tenant events.TenantID) (n int64, err error) {
	if err = db.QueryRow(ctx, `SELECT count(*) FROM fanmail.domains WHERE tenant_id = $1`, tenant).Scan(&n); err != nil {
		return 0, fmt.Errorf("count domains: %w", err)
	}
	return n, nil
}

// GetDomain returns one domain of the tenant, or [pgx.ErrNoRows].
func GetDomain(ctx context.Context, db pg.DB, tenant events.TenantID, name string) (Domain, error) {
	return oneDomain(ctx, db, `SELECT `+domainColumns+` FROM fanmail.domains WHERE tenant_id = $1 AND name = $2`, tenant, name)
}

// DeleteDomain deletes a domain of the tenant. A verified one is in quarantine
// then. It returns [ErrDomainInUse] or [pgx.ErrNoRows].
func DeleteDomain(ctx context.Context, tx pgx.Tx, tenant events.TenantID, name string) error {
	d, err := oneDomain(ctx, tx, `DELETE FROM fanmail.domains WHERE tenant_id = $1 AND name = $2 RETURNING `+domainColumns, tenant, name)
	if err != nil || d.VerifiedAt == nil {
		return err
	}
	var used bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.agents WHERE tenant_id = $1 AND ($2 = '*' OR domain = $2 OR domain LIKE '%.' || $2))`,
		tenant, name).Scan(&used)
	if err != nil {
		return fmt.Errorf("delete a domain: %w", err)
	}
	if used {
		return ErrDomainInUse
	}
	return release(ctx, tx, tenant, name)
}

// inQuarantine is the condition that another tenant than $1 has released one of the domains $3, which are one and
// those above it, less than $4 seconds ago. A verified domain of $1 that is as specific ends it for what is below.
const inQuarantine = `EXISTS (SELECT 1 FROM fanmail.released_names AS r
	WHERE r.name = ANY($3) AND r.tenant_id <> $1 AND r.released_at > now() - make_interval(secs => $4)
	AND NOT EXISTS (SELECT 1 FROM fanmail.domains AS d
		WHERE d.name = ANY($2) AND d.tenant_id = $1 AND d.verified_at IS NOT NULL AND length(d.name) >= length(r.name)))`

// OwnsDomain reports whether the tenant may have agents on a domain: of the
// verified domains that are it or above it, the most specific is the tenant's, and
// none between them is in quarantine.
func OwnsDomain(ctx context.Context, db pg.DB, tenant events.TenantID, name string) (bool, error) {
	names := above(name)
	var owns bool
	err := db.QueryRow(ctx, `SELECT coalesce((SELECT tenant_id = $1 FROM fanmail.domains WHERE name = ANY($2) AND verified_at IS NOT NULL
		ORDER BY length(name) DESC LIMIT 1), false) AND NOT `+inQuarantine,
		tenant, append(names[:len(names):len(names)], EveryDomain), names, Quarantine.Seconds()).Scan(&owns)
	if err != nil {
		return false, fmt.Errorf("look up the owner of a domain: %w", err)
	}
	return owns, nil
}

// Standing is what the tables say about mail for a domain.
type Standing struct {
	// Claims are the domains that are it or above it, [EveryDomain] included, of any
	// tenant: verified ones first, the most specific first.
	Claims []Domain
	// CatchAll: an agent takes the mail of the whole domain. Agents: some agent is on it.
	CatchAll, Agents bool
}

// DomainStanding returns the standing of a domain's clean name. It is for operators: the
// claims are those of all tenants.
func DomainStanding(ctx context.Context, db pg.DB, name string) (s Standing, err error) {
	s.Claims, err = readDomains(ctx, db, `SELECT `+domainColumns+` FROM fanmail.domains WHERE name = ANY($1)
		ORDER BY verified_at IS NULL, length(name) DESC, created_at LIMIT 10`, append(above(name), EveryDomain))
	if err != nil {
		return s, err
	}
	err = db.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM fanmail.agents WHERE address = '*@' || $1::text), EXISTS (SELECT 1 FROM fanmail.agents WHERE domain = $1::text)`, name).
		Scan(&s.CatchAll, &s.Agents)
	if err != nil {
		return s, fmt.Errorf("look up the agents of a domain: %w", err)
	}
	return s, nil
}

// above returns a domain and those above it: a.b.c, b.c, c.
func above(name string) []string {
	out := []string{name}
	for {
		_, rest, found := strings.Cut(name, ".")
		if !found {
			return out
		}
		out, name = append(out, rest), rest
	}
}

// domainOf returns the domain of a clean address as [CleanDomain] would. A domain
// that is none, such as an address literal, is returned as it is.
func domainOf(address string) string {
	domain := address[strings.LastIndexByte(address, '@')+1:]
	if clean, err := CleanDomain(domain); err == nil {
		return clean
	}
	return domain
}

// release puts a name into quarantine.
func release(ctx context.Context, db pg.DB, tenant events.TenantID, name string) error {
	_, err := db.Exec(ctx, `INSERT INTO fanmail.released_names (name, tenant_id) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET tenant_id = excluded.tenant_id, released_at = now()`, name, tenant)
	if err != nil {
		return fmt.Errorf("put a released name into quarantine: %w", err)
	}
	return nil
}

func readDomains(ctx context.Context, db pg.DB, sql string, args ...any) ([]Domain, error) {
	rows, err := db.Query(ctx, sql, args...)
	if err != nil {
		return nil, fmt.Errorf("query domains: %w", err)
	}
	list, err := pgx.CollectRows(rows, scanDomain)
	if err != nil {
		return nil, fmt.Errorf("query domains: %w", err)
	}
	return list, nil
}

func oneDomain(ctx context.Context, db pg.DB, sql string, args ...any) (Domain, error) {
	list, err := readDomains(ctx, db, sql, args...)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("query domains: %w", pgx.ErrNoRows)
	}
	if err != nil {
		return Domain{}, err
	}
	return list[0], nil
}
