package tenancy

import (
	"context"
	"fmt"
	"net/mail"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/input"
)

const (
	// MaxAlertAddresses bounds the addresses of a tenant.
	MaxAlertAddresses = 5
	// maxAddressBytes is the longest path of SMTP, without its angle brackets.
	maxAddressBytes = 254
)

// SelectAlerted is a query for the tenants that have alert addresses, for statements
// that join it. Its column is "id".
const SelectAlerted = `SELECT id FROM fanmail.tenants WHERE alert_addresses <> '{}'`

// CheckAlertAddresses returns the addresses in the form in which they are stored: each
// once, in the given order. An invalid one is an [*events.FieldError].
func CheckAlertAddresses(addresses []string) ([]string, error) {
	refuse := func(format string, args ...any) ([]string, error) {
		return nil, &events.FieldError{Field: "alert_addresses", Reason: fmt.Sprintf(format, args...)}
	}
	out := []string{}
	for _, a := range addresses {
		if len(a) > maxAddressBytes {
			return refuse("holds an address of %d bytes; the limit is %d", len(a), maxAddressBytes)
		}
		// An address is written into commands of SMTP and a header: nothing but a plain one is taken.
		parsed, err := mail.ParseAddress(a)
		if err != nil || parsed.Address != a || input.Text(a) != "" || strings.ContainsAny(a, "\"<>(),:;\\ []") || !ascii(a) {
			return refuse("holds a text that is not a plain mail address such as ops@example.com")
		}
		local, domain, _ := strings.Cut(a, "@")
		a = local + "@" + strings.ToLower(domain)
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	if len(out) > MaxAlertAddresses {
		return refuse("holds %d addresses; the limit is %d", len(out), MaxAlertAddresses)
	}
	return out, nil
}

func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// AlertAddresses returns who gets mails about a tenant's failing webhooks; none if
// nobody does, or if there is no such tenant.
func AlertAddresses(ctx context.Context, db DB, tenant events.TenantID) ([]string, error) {
	var out []string
	err := db.QueryRow(ctx, `SELECT coalesce((SELECT alert_addresses FROM fanmail.tenants WHERE id = $1), '{}')`, tenant).Scan(&out)
	if err != nil {
		return nil, fmt.Errorf("read a tenant's alert addresses: %w", err)
	}
	return out, nil
}

// SetAlertAddresses replaces the addresses of a tenant by those that
// [CheckAlertAddresses] returned. It returns [pgx.ErrNoRows] if there is no such tenant.
func SetAlertAddresses(ctx context.Context, db DB, tenant events.TenantID, addresses []string) (t Tenant, err error) {
	rows, err := db.Query(ctx, `UPDATE fanmail.tenants SET alert_addresses = $2 WHERE id = $1 RETURNING `+tenantColumns, tenant, addresses)
	if err != nil {
		return Tenant{}, fmt.Errorf("set a tenant's alert addresses: %w", err)
	}
	if t, err = pgx.CollectExactlyOneRow(rows, scanTenant); err != nil {
		return Tenant{}, fmt.Errorf("set a tenant's alert addresses: %w", err)
	}
	return t, nil
}
