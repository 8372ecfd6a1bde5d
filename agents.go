package fanmail

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// ErrAddressTaken means that the address belongs to an agent already, of this or of another
// tenant.
var ErrAddressTaken = errors.New("the address is taken")

// Agent is a mail address that receives mail for a tenant, also with tags: robot@example.com receives what is sent to
// robot+tag@example.com. The address *@example.com receives what no other agent of the domain does. Events name the
// agent in [Event].AgentID.
type Agent struct {
	Address    string // in lower case
	WebhookURL string // the agent's own webhook; "" for none
	Senders    SenderRules
	CreatedAt  time.Time
}

// SenderRules say from whom an agent accepts mail; the zero value accepts all. An entry is an address, @example.com for
// a domain, or *.example.com for its subdomains. A list has at most 1,000 entries.
type SenderRules struct {
	Allow        []string // only mail of these authors, by From; empty for all
	Deny         []string // no mail of these senders, by From or the envelope; it comes before Allow
	RequireDMARC bool     // only mail of which the domain in From passes DMARC
}

func fromMailbox(a mailbox.Agent) Agent {
	out := Agent{Address: a.Address, Senders: SenderRules(a.Senders), CreatedAt: a.CreatedAt}
	if a.WebhookURL != nil {
		out.WebhookURL = *a.WebhookURL
	}
	return out
}

// CreateAgent creates an agent. webhookURL is a URL of its own that its mail is
// POSTed to, "" for none. It returns a [*FieldError] for a bad address or URL,
// [ErrAddressTaken] (also for 30 days after another tenant has deleted it, or the
// address *@ of its domain), and [ErrNotFound] where there is no such tenant.
func (c *Client) CreateAgent(ctx context.Context, tenant TenantID, address, webhookURL string) (Agent, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Agent{}, err
	}
	if webhookURL != "" {
		var err error
		if webhookURL, err = c.limits().NormalizeURL("webhook_url", webhookURL); err != nil {
			return Agent{}, err
		}
	}
	a, created, err := mailbox.CreateAgent(ctx, c.db, tenant, address, webhookURL)
	var answer *pgconn.PgError
	if errors.As(err, &answer) && (answer.Code == "23503" || answer.Code == "23502") { // foreign_key_violation, not_null_violation: no such tenant
		return Agent{}, ErrNotFound
	}
	if err != nil {
		return Agent{}, err
	}
	if !created {
		return Agent{}, ErrAddressTaken
	}
	return fromMailbox(a), nil
}

// GetAgent returns one agent, or [ErrNotFound].
func (c *Client) GetAgent(ctx context.Context, tenant TenantID, address string) (Agent, error) {
	if err := c.ready(); err != nil {
		return Agent{}, err
	}
	a, err := mailbox.GetAgent(ctx, c.db, tenant, mailbox.Fold(address))
	return fromMailbox(a), notFound(err)
}

// ListAgents returns up to limit agents after an address, in the order of their
// addresses; "" is the beginning. Fewer than limit are the end.
func (c *Client) ListAgents(ctx context.Context, tenant TenantID, after string, limit int) ([]Agent, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	if err := checkLimit(limit); err != nil {
		return nil, err
	}
	out := []Agent{}
	for more := true; more && len(out) < limit; {
		var found []mailbox.Agent
		var err error
		if found, more, err = mailbox.ListAgents(ctx, c.db, tenant, after, limit-len(out)); err != nil {
			return out, err
		}
		for _, a := range found {
			out, after = append(out, fromMailbox(a)), a.Address
		}
	}
	return out, nil
}

// ChangeAgent sets the agent's own webhook; "" removes it. It returns [ErrNotFound].
func (c *Client) ChangeAgent(ctx context.Context, tenant TenantID, address, webhookURL string) (Agent, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Agent{}, err
	}
	var url *string
	if webhookURL != "" {
		normal, err := c.limits().NormalizeURL("webhook_url", webhookURL)
		if err != nil {
			return Agent{}, err
		}
		url = &normal
	}
	a, err := mailbox.SetWebhook(ctx, c.db, tenant, mailbox.Fold(address), url)
	return fromMailbox(a), notFound(err)
}

// ChangeSenders replaces the agent's rules for senders. It returns a [*FieldError] for a bad entry, and [ErrNotFound].
func (c *Client) ChangeSenders(ctx context.Context, tenant TenantID, address string, rules SenderRules) (Agent, error) {
	if err := c.changeable(ctx, tenant); err != nil {
		return Agent{}, err
	}
	a, err := mailbox.ChangeAgent(ctx, c.db, tenant, mailbox.Fold(address), mailbox.AgentChange{
		Allow: &rules.Allow, Deny: &rules.Deny, RequireDMARC: &rules.RequireDMARC,
	})
	return fromMailbox(a), notFound(err)
}

// DeleteAgent deletes an agent: its address refuses mail from then on; what it has
// received stays. It returns [ErrNotFound].
func (c *Client) DeleteAgent(ctx context.Context, tenant TenantID, address string) error {
	if err := c.changeable(ctx, tenant); err != nil {
		return err
	}
	return notFound(mailbox.DeleteAgent(ctx, c.db, tenant, mailbox.Fold(address)))
}

// notFound replaces the database's word for no row.
func notFound(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
