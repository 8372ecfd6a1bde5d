package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/internal/mailbox"
)

// agent is a mail address that receives mail.
type agent struct {
	Address      string    `json:"address" example:"support@example.com" doc:"In lower case. Other objects have it as agent_id."`
	WebhookURL   *string   `json:"webhook_url" doc:"The agent's own webhook; null for none."`
	AllowSenders []string  `json:"allow_senders" nullable:"false" doc:"Only mail of these authors is accepted; empty for all."`
	DenySenders  []string  `json:"deny_senders" nullable:"false" doc:"Mail of these senders is refused."`
	RequireDMARC bool      `json:"require_dmarc" doc:"Only mail of which the domain in From passes DMARC is accepted."`
	CreatedAt    time.Time `json:"created_at"`
}

func showAgent(a mailbox.Agent) agent {
	return agent{
		Address: a.Address, WebhookURL: a.WebhookURL, AllowSenders: append([]string{}, a.Senders.Allow...),
		DenySenders: append([]string{}, a.Senders.Deny...), RequireDMARC: a.Senders.RequireDMARC, CreatedAt: a.CreatedAt,
	}
}

// SenderRules are the settings that say from whom an agent accepts mail.
type SenderRules struct {
	AllowSenders optional[[]storedText] `json:"allow_senders,omitempty" nullable:"true" maxItems:"1000" example:"[\"@example.com\"]" doc:"Accept only mail of these authors, by From: name@example.com, @example.com for a domain, *.example.com for its subdomains. null or [] for all."`
	DenySenders  optional[[]storedText] `json:"deny_senders,omitempty" nullable:"true" maxItems:"1000" example:"[\"spam@example.net\"]" doc:"Refuse mail of these senders, by From or the envelope, in the same forms. It comes before allow_senders. null or [] for none."`
	RequireDMARC optional[bool]         `json:"require_dmarc,omitempty" nullable:"true" doc:"Accept only mail of which the domain in From passes DMARC. null for false."`
}

// change returns the settings that are present.
func (r *SenderRules) change() mailbox.AgentChange {
	texts := func(o *optional[[]storedText]) *[]string {
		list := o.orZero()
		if list == nil {
			return nil
		}
		out := make([]string, len(*list))
		for i, v := range *list {
			out[i] = string(v)
		}
		return &out
	}
	return mailbox.AgentChange{Allow: texts(&r.AllowSenders), Deny: texts(&r.DenySenders), RequireDMARC: r.RequireDMARC.orZero()}
}

func (r *SenderRules) set() bool {
	return r.AllowSenders.Set || r.DenySenders.Set || r.RequireDMARC.Set
}

// AgentPath has the address of an agent.
type AgentPath struct {
	Address storedText `path:"address" maxLength:"254"`
}

type createAgentInput struct {
	Body struct {
		Address    storedText `json:"address" doc:"A mail address. It is stored in lower case, with its domain in ASCII. *@example.com takes what no other agent of the domain does."`
		WebhookURL storedText `json:"webhook_url,omitempty"`
		SenderRules
	} `nameHint:"AgentSettings"`
}

type changeAgentInput struct {
	AgentPath
	Body struct {
		WebhookURL optional[storedText] `json:"webhook_url,omitempty" nullable:"true" doc:"null for none."`
		SenderRules
	} `nameHint:"AgentChange"`
}

func (s *server) agentRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "create-agent", Method: http.MethodPost, Path: "/v1/agents", DefaultStatus: http.StatusCreated,
		Summary: "Create an agent", Description: "The tenant must own the address's domain; see `POST /v1/domains`. An address that is taken is a 409. So is one that another tenant released less than 30 days ago, with its tags, and each of a domain of which it released *@.",
	}, s.createAgent)
	register(s, tenants, huma.Operation{
		OperationID: "list-agents", Method: http.MethodGet, Path: "/v1/agents", Summary: "List agents, sorted by address",
	}, s.listAgents)
	register(s, tenants, huma.Operation{
		OperationID: "get-agent", Method: http.MethodGet, Path: "/v1/agents/{address}", Summary: "Read an agent",
	}, s.getAgent)
	register(s, tenants, huma.Operation{
		OperationID: "change-agent", Method: http.MethodPatch, Path: "/v1/agents/{address}", Summary: "Change an agent",
	}, s.changeAgent)
	register(s, tenants, huma.Operation{
		OperationID: "delete-agent", Method: http.MethodDelete, Path: "/v1/agents/{address}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete an agent", Description: "Its address then rejects mail, unless the tenant has an agent for the whole domain. The mail that it has received stays.",
	}, s.deleteAgent)
}

func (s *server) createAgent(ctx context.Context, in *createAgentInput) (*body[agent], error) {
	if in.Body.WebhookURL != "" {
		normal, err := s.limits.NormalizeURL("webhook_url", string(in.Body.WebhookURL))
		if err != nil {
			return nil, err
		}
		in.Body.WebhookURL = storedText(normal)
	}
	var a mailbox.Agent
	var created bool
	err := s.change(ctx, func(u *unit) (err error) {
		if err := mailbox.CheckOwner(ctx, u, tenant(ctx), string(in.Body.Address)); err != nil {
			return err
		}
		err = s.room(ctx, u, tenant(ctx), "agents", s.quotaOf(ctx).Agents, func(ctx context.Context, u *unit) (int64, error) {
			return mailbox.CountAgents(ctx, u, tenant(ctx))
		})
		if err != nil {
			return err
		}
		a, created, err = mailbox.CreateAgent(ctx, u, tenant(ctx), string(in.Body.Address), string(in.Body.WebhookURL))
		if err == nil && created && in.Body.set() {
			a, err = mailbox.ChangeAgent(ctx, u, tenant(ctx), a.Address, in.Body.change())
		}
		u.became(showAgent(a))
		if err == nil && !created {
			return huma.Error409Conflict("body.address: is taken", &huma.ErrorDetail{Location: "body.address", Message: "is taken"})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(showAgent(a)), nil
}

func (s *server) listAgents(ctx context.Context, in *struct{ Paging }) (*body[list[agent]], error) {
	return namedPage(&in.Paging, func(a agent) string { return a.Address }, showAgent, func(after string, limit int) ([]mailbox.Agent, bool, error) {
		return mailbox.ListAgents(ctx, s.pool, tenant(ctx), after, limit)
	})
}

func (s *server) getAgent(ctx context.Context, in *AgentPath) (*body[agent], error) {
	a, err := mailbox.GetAgent(ctx, s.pool, tenant(ctx), string(in.Address))
	if err != nil {
		return nil, err // no rows: 404
	}
	return reply(showAgent(a)), nil
}

func (s *server) changeAgent(ctx context.Context, in *changeAgentInput) (*body[agent], error) {
	url := in.Body.WebhookURL
	if url.value != nil {
		normal, err := s.limits.NormalizeURL("webhook_url", string(*url.value))
		if err != nil {
			return nil, err
		}
		stored := storedText(normal)
		url.value = &stored
	}
	var a mailbox.Agent
	err := s.change(ctx, func(u *unit) (err error) {
		if a, err = mailbox.GetAgent(ctx, u, tenant(ctx), string(in.Address)); err != nil {
			return err
		}
		u.was(showAgent(a))
		if url.Set || in.Body.set() {
			change := in.Body.change()
			change.SetWebhook, change.WebhookURL = url.Set, (*string)(url.value)
			a, err = mailbox.ChangeAgent(ctx, u, tenant(ctx), a.Address, change)
		}
		u.became(showAgent(a))
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(showAgent(a)), nil
}

func (s *server) deleteAgent(ctx context.Context, in *AgentPath) (*struct{}, error) {
	return nil, s.change(ctx, func(u *unit) error {
		a, err := mailbox.GetAgent(ctx, u, tenant(ctx), string(in.Address))
		if err != nil {
			return err
		}
		u.was(showAgent(a))
		return mailbox.DeleteAgent(ctx, u, tenant(ctx), a.Address)
	})
}
