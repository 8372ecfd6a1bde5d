package importe2a

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// The kinds of rows that are compared with the last pass.
const (
	kindTenant  = "tenant"
	kindKey     = "key"
	kindAgent   = "agent"
	kindWebhook = "webhook"
)

// What rows of a report count.
const (
	rowTenants  = "tenants"
	rowKeys     = "API keys"
	rowAgents   = "agents"
	rowWebhooks = "webhooks"
)

// row is something to import, with what it was made of.
type row[T any] struct {
	id     string // there
	digest string // of all that is read of it
	value  T
}

func newRow[T any](id string, value T, read ...any) row[T] {
	text, err := json.Marshal(read)
	if err != nil { // texts, times and numbers
		panic(fmt.Sprintf("digest a row of e2a: %v", err))
	}
	sum := sha256.Sum256(text)
	return row[T]{id: id, digest: string(sum[:]), value: value}
}

// accounts are e2a's tenants with what they own.
type accounts struct {
	source   events.TenantID // the first tenant
	tenants  []row[tenancy.Tenant]
	keys     []row[tenancy.ImportedKey]
	agents   []row[mailbox.ImportedAgent]
	webhooks []row[subscribers.ImportedWebhook]

	tenantOf  map[string]events.TenantID // by the user's id there
	deleted   map[string]bool            // users whose tenants were deleted here
	agentOf   map[string]mailbox.ImportedAgent
	webhookOf map[string]*subscribers.ImportedWebhook
}

// readAccounts reads and checks the accounts.
func (p *pass) readAccounts(ctx context.Context) error {
	p.accounts = accounts{tenantOf: map[string]events.TenantID{}, deleted: map[string]bool{}, agentOf: map[string]mailbox.ImportedAgent{}, webhookOf: map[string]*subscribers.ImportedWebhook{}}
	for _, read := range []func(context.Context) error{p.readTenants, p.readKeys, p.readAgents, p.readWebhooks} {
		if err := read(ctx); err != nil {
			return err
		}
	}
	return nil
}

// nothing scans rows by a function that has done all; see [each].
func nothing(scan func(pgx.CollectableRow) error) pgx.RowToFunc[struct{}] {
	return func(row pgx.CollectableRow) (struct{}, error) { return struct{}{}, scan(row) }
}

// all reads a whole query, of a table that has as many rows as e2a has users, agents or webhooks.
func (p *pass) all(ctx context.Context, name, query string, scan func(pgx.CollectableRow) error) error {
	return each(ctx, p.tx, name, query, 1000, nothing(scan), func([]struct{}) error { return nil })
}

func (p *pass) readTenants(ctx context.Context) error {
	const t = "users"
	query := `SELECT u.id::text, u.email::text, ` + p.src.text(t, "u", "name") + `, u.created_at FROM ` + p.src.from(t, "u") + ` ORDER BY u.created_at, u.id`
	err := p.all(ctx, t, query, func(r pgx.CollectableRow) error {
		var id, email, name string
		var at time.Time
		if err := r.Scan(&id, &email, &name, &at); err != nil {
			return err
		}
		p.report.row(rowTenants).There++
		tenant := keyOf[events.TenantKind](id)
		if p.accounts.source.IsZero() {
			p.accounts.source = tenant
		}
		p.accounts.tenantOf[id] = tenant
		p.accounts.tenants = append(p.accounts.tenants,
			newRow(id, tenancy.Tenant{ID: tenant, Name: tenancy.ImportName(name, email, id, "imported"), CreatedAt: at}, tenant))
		return nil
	})
	if err != nil {
		return err
	}
	return p.leaveOutDeleted(ctx)
}

// leaveOutDeleted leaves out the users whose tenants were deleted here, so that all that they own is left out too.
func (p *pass) leaveOutDeleted(ctx context.Context) error {
	closed, err := outbox.Closed(ctx, p.o.Pool, slices.Collect(maps.Values(p.accounts.tenantOf)))
	if err != nil {
		return err
	}
	p.accounts.tenants = slices.DeleteFunc(p.accounts.tenants, func(r row[tenancy.Tenant]) bool {
		if !closed[r.value.ID] {
			return false
		}
		delete(p.accounts.tenantOf, r.id)
		p.accounts.deleted[r.id] = true
		p.report.row(rowTenants).Out++
		p.report.note("%d users are left out, with all that they own: their tenants were deleted here")
		return true
	})
	return nil
}

// keyColumns are the columns of api_keys whose meaning is known.
var keyColumns = []string{"id", "user_id", "name", "key_prefix", "key_hash", "created_at", "revoked_at", "expires_at", "last_used_at", "scope", "agent_id"}

func (p *pass) readKeys(ctx context.Context) error {
	const t = "api_keys"
	for name := range p.src.has {
		if column, ok := strings.CutPrefix(name, t+"."); ok && !slices.Contains(keyColumns, column) {
			p.report.problem("API keys have a column %q, which Fanmail does not know: if it restricts keys, they can do more here", column)
		}
	}
	query := `SELECT k.id::text, k.user_id::text, ` + p.src.text(t, "k", "name") + `, k.key_hash::text, k.created_at, ` + p.src.col(t, "k", "revoked_at", "timestamptz") + `, ` +
		p.src.col(t, "k", "expires_at", "timestamptz") + `, ` + p.src.text(t, "k", "scope") + ` FROM ` + p.src.from(t, "k") + ` ORDER BY k.id`
	return p.all(ctx, t, query, func(r pgx.CollectableRow) error {
		var id, user, name, hash, scope string
		var k tenancy.ImportedKey
		if err := r.Scan(&id, &user, &name, &hash, &k.CreatedAt, &k.RevokedAt, &k.ExpiresAt, &scope); err != nil {
			return err
		}
		count := p.report.row(rowKeys)
		count.There++
		tenant, known := p.accounts.tenantOf[user]
		var whole bool
		k.Hash, whole = decodeHash(hash)
		switch {
		case !known:
			count.Out++
			p.report.note("%d API keys are left out: their user is gone")
		case !whole:
			count.Out++
			p.report.problem("API key %s has no SHA-256 of its secret: it is left out", id)
		case scope != "" && scope != "account":
			count.Out++
			p.report.note("%d API keys are left out: they are restricted to one agent, and a key of Fanmail is for a tenant; make them anew with `fanmail keys create`")
		default:
			k.ID, k.TenantID, k.Name = keyOf[events.APIKeyKind](id), tenant, tenancy.ImportName(name)
			p.accounts.keys = append(p.accounts.keys, newRow(id, k, tenant, hash, k.RevokedAt, k.ExpiresAt))
		}
		return nil
	})
}

func (p *pass) readAgents(ctx context.Context) error {
	const t = "agent_identities"
	query := `SELECT a.id::text, a.user_id::text, ` + p.src.text(t, "a", "webhook_url") + `, ` + p.src.text(t, "a", "agent_mode") + `, a.created_at FROM ` +
		p.src.from(t, "a") + ` ORDER BY a.created_at, a.id`
	seen := map[string]string{}
	return p.all(ctx, t, query, func(r pgx.CollectableRow) error {
		var id, user, own, mode string
		var at time.Time
		if err := r.Scan(&id, &user, &own, &mode, &at); err != nil {
			return err
		}
		count := p.report.row(rowAgents)
		count.There++
		tenant, known := p.accounts.tenantOf[user]
		address, err := mailbox.CleanAddress(id)
		switch {
		case !known:
			count.Out++
			p.report.note("%d agents are left out: their user is gone")
			return nil
		case err != nil:
			count.Out++
			p.report.problem("agent %s: %v: it is left out, with its mails", id, err)
			return nil
		case seen[address] != "":
			count.Out++
			p.report.problem("agent %s has the same address here as %s: it is left out, with its mails", id, seen[address])
			return nil
		}
		seen[address] = id
		a := mailbox.ImportedAgent{Address: address, TenantID: tenant, CreatedAt: at}
		if own != "" && mode != "local" {
			if a.WebhookURL, err = p.url("webhook_url", own); err != nil {
				p.report.problem("agent %s: %v: it is imported without a webhook of its own", id, err)
			}
		}
		p.accounts.agentOf[id] = a
		p.accounts.agents = append(p.accounts.agents, newRow(id, a, tenant, a.WebhookURL))
		return nil
	})
}

// everywhere are all addresses.
var everywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// url returns the normal form of a URL. One that only the given settings do not allow gets a note: each attempt is checked
// by the settings of the process that makes it.
func (p *pass) url(field, raw string) (string, error) {
	normal, err := p.o.Limits.NormalizeURL(field, raw)
	if err == nil {
		return normal, nil
	}
	open := subscribers.Limits{AllowHTTP: true, AllowNetworks: everywhere}
	if u, err := url.Parse(raw); err == nil {
		if port, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
			open.AllowPorts = append(open.AllowPorts, uint16(port))
		}
	}
	if normal, openErr := open.NormalizeURL(field, raw); openErr == nil {
		p.report.note("%d URLs are of plain HTTP, of an address that is not public, or of a port that is not allowed: they are imported; the dispatchers need --allow-http, --allow-networks or --allow-ports to send there")
		return normal, nil
	}
	return "", err
}

// hook is a row of e2a's webhooks.
type hook struct {
	id, user, url, description, filters, secret, previous string
	events                                                []string
	until, disabledAt, deliveredAt                        *time.Time
	enabled                                               bool
	at                                                    time.Time
}

func (p *pass) readWebhooks(ctx context.Context) error {
	const t = "webhooks"
	query := `SELECT w.id::text, w.user_id::text, w.url::text, ` + p.src.text(t, "w", "description") + `, w.events::text[], ` + p.src.text(t, "w", "filters") + `, w.signing_secret::text, ` +
		p.src.text(t, "w", "signing_secret_prev") + `, ` + p.src.col(t, "w", "signing_secret_prev_expires_at", "timestamptz") + `, w.enabled, ` +
		p.src.col(t, "w", "auto_disabled_at", "timestamptz") + `, w.created_at, ` + p.src.col(t, "w", "last_delivered_at", "timestamptz") +
		` FROM ` + p.src.from(t, "w") + ` ORDER BY w.created_at, w.id`
	return p.all(ctx, t, query, func(r pgx.CollectableRow) error {
		var h hook
		if err := r.Scan(&h.id, &h.user, &h.url, &h.description, &h.events, &h.filters, &h.secret, &h.previous, &h.until, &h.enabled, &h.disabledAt, &h.at, &h.deliveredAt); err != nil {
			return err
		}
		count := p.report.row(rowWebhooks)
		count.There++
		if p.accounts.deleted[h.user] {
			count.Out++
			return nil
		}
		w, why := p.webhook(&h)
		if why != "" {
			count.Out++
			p.report.problem("webhook %s: %s: it is left out, with its deliveries", h.id, why)
			return nil
		}
		p.accounts.webhooks = append(p.accounts.webhooks,
			newRow(h.id, *w, h.user, h.url, h.description, h.events, h.filters, h.secret, h.previous, h.until, h.enabled, h.disabledAt))
		p.accounts.webhookOf[h.id] = w
		return nil
	})
}

// webhook returns the webhook that a row becomes, or why it can't become one.
func (p *pass) webhook(h *hook) (*subscribers.ImportedWebhook, string) {
	tenant, known := p.accounts.tenantOf[h.user]
	if !known {
		return nil, "its user is gone"
	}
	w := &subscribers.ImportedWebhook{}
	var err error
	if w.URL, err = p.url("url", h.url); err != nil {
		return nil, err.Error()
	}
	for _, t := range h.events {
		typ := events.Type(t)
		if typ != subscribers.EveryType && !typ.Known() {
			p.report.problem("webhook %s asks for the type %q, which Fanmail does not know: it is imported without that type", h.id, t)
			continue
		}
		w.Events = append(w.Events, typ)
	}
	if len(w.Events) == 0 {
		return nil, "it asks for no type that Fanmail knows"
	}
	if w.Filters, err = readFilters(h.filters); err != nil {
		return nil, err.Error()
	}
	if _, err := signature.NewSigner(h.secret); err != nil {
		return nil, "it has no usable signing secret"
	}
	w.ID, w.TenantID, w.SigningSecret = keyOf[events.WebhookKind](h.id), tenant, h.secret
	if h.previous != "" && h.until != nil && h.until.After(p.state.now) {
		w.PreviousSecret, w.PreviousUntil = h.previous, *h.until
	}
	w.Description = strings.Join(strings.Fields(h.description), " ")
	for len(w.Description) > subscribers.MaxDescriptionBytes {
		runes := []rune(w.Description)
		w.Description = string(runes[:len(runes)-1])
	}
	w.Enabled, w.AutoDisabledAt, w.CreatedAt, w.LastDeliveredAt = h.enabled, h.disabledAt, h.at, h.deliveredAt
	if h.disabledAt != nil {
		w.DisabledReason = "disabled by e2a"
	}
	w.MaxInFlight = 1 // e2a makes one attempt of a webhook at a time
	if p.o.Envelope != "" {
		w.Envelope, w.EnvelopeUntil = p.o.Envelope, &p.o.EnvelopeUntil
	}
	return w, ""
}

// readFilters reads a webhook's filters. One that it does not know is an error: without it the webhook would get more.
func readFilters(text string) (f subscribers.Filters, err error) {
	if text == "" || text == "null" {
		return f, nil
	}
	var lists map[string][]string
	if err := json.Unmarshal([]byte(text), &lists); err != nil {
		return f, fmt.Errorf("its filters are not lists of texts")
	}
	for name, list := range lists {
		list = slices.DeleteFunc(list, func(s string) bool { return s == "" })
		switch {
		case len(list) == 0:
		case name == "agent_ids" || name == "agent_emails":
			f.AgentIDs = append(f.AgentIDs, list...)
		case name == "conversation_ids":
			f.ConversationIDs = list
		case name == "labels":
			f.Labels = list
		default:
			return f, fmt.Errorf("it has a filter %q, which Fanmail does not know", name)
		}
	}
	return f, nil
}
