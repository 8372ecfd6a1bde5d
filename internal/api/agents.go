package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/mail"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/pg"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// maxAddressBytes is the length of a path in RFC 5321 (256) without its angle
// brackets.
const maxAddressBytes = 254

// agent is a mail address that receives mail.
type agent struct {
	Address    string    `json:"address" example:"support@example.com" doc:"In lower case; the agent_id everywhere else."`
	WebhookURL *string   `json:"webhook_url" doc:"The agent's own webhook; null for none."`
	CreatedAt  time.Time `json:"created_at"`
}

// cleanAddress gives the address in lower case, or an [*events.FieldError].
func cleanAddress(in string) (string, error) {
	bad := func(reason string) (string, error) {
		return "", &events.FieldError{Field: "address", Reason: reason}
	}
	if len(in) > maxAddressBytes {
		return bad(fmt.Sprintf("has %d bytes; the limit is %d", len(in), maxAddressBytes))
	}
	a, err := mail.ParseAddress(in)
	if err != nil || a.Name != "" || a.Address != in {
		return bad("is not a mail address like name@example.com")
	}
	return strings.ToLower(in), nil
}

func shown(a mailbox.Agent) agent {
	return agent{Address: a.Address, WebhookURL: a.WebhookURL, CreatedAt: a.CreatedAt}
}

// ownAgent checks that the tenant has the agent. An event may name none.
func ownAgent(ctx context.Context, db subscribers.DB, tenant events.TenantID, address string) error {
	if address == "" {
		return nil
	}
	missing, err := mailbox.MissingAgent(ctx, db, tenant, address)
	if err == nil && missing != "" {
		err = &events.FieldError{Field: "agent_id", Reason: "names no agent of this tenant"}
	}
	return err
}

// AgentPath is the path's parameter.
type AgentPath struct {
	Address string `path:"address" maxLength:"254"`
}

func (s *server) agentRoutes() {
	register(s, tenants, huma.Operation{
		OperationID: "create-agent", Method: http.MethodPost, Path: "/v1/agents", DefaultStatus: http.StatusCreated,
		Summary: "Make an agent", Description: "An address belongs to one tenant; one that is taken is a 409.",
	}, func(ctx context.Context, in *struct {
		Body struct {
			Address    string `json:"address" doc:"A mail address; kept in lower case."`
			WebhookURL string `json:"webhook_url,omitempty"`
		} `nameHint:"AgentSettings"`
	},
	) (*body[agent], error) {
		address, err := cleanAddress(in.Body.Address)
		if err != nil {
			return nil, err
		}
		if in.Body.WebhookURL != "" {
			if err := s.limits.ValidateURL("webhook_url", in.Body.WebhookURL); err != nil {
				return nil, err
			}
		}
		var a mailbox.Agent
		var made bool
		err = s.change(ctx, func(u *unit) error {
			a, made, err = mailbox.CreateAgent(ctx, u, tenant(ctx), address, in.Body.WebhookURL)
			return err
		})
		if err != nil {
			return nil, err
		}
		if !made {
			return nil, huma.Error409Conflict("body.address: is taken", &huma.ErrorDetail{Location: "body.address", Message: "is taken"})
		}
		return reply(shown(a)), nil
	})
	register(s, tenants, huma.Operation{
		OperationID: "list-agents", Method: http.MethodGet, Path: "/v1/agents", Summary: "List agents, by address",
	}, func(ctx context.Context, in *struct{ Paging }) (*body[list[agent]], error) {
		after, err := base64.RawURLEncoding.DecodeString(in.Cursor)
		if err != nil || !storable(string(after)) {
			return nil, fault("query.cursor", "is not a cursor that this list gave")
		}
		found, err := mailbox.ListAgents(ctx, s.pool, tenant(ctx), string(after), in.Limit+1)
		if err != nil {
			return nil, err
		}
		out := list[agent]{Data: make([]agent, 0, len(found))}
		for _, a := range found[:min(len(found), in.Limit)] {
			out.Data = append(out.Data, shown(a))
		}
		if len(found) > in.Limit {
			next := base64.RawURLEncoding.EncodeToString([]byte(found[in.Limit-1].Address))
			out.NextCursor = &next
		}
		return reply(out), nil
	})
	register(s, tenants, huma.Operation{
		OperationID: "get-agent", Method: http.MethodGet, Path: "/v1/agents/{address}", Summary: "Read an agent",
	}, func(ctx context.Context, in *AgentPath) (*body[agent], error) {
		return s.oneAgent(ctx, in.Address, mailbox.GetAgent)
	})
	register(s, tenants, huma.Operation{
		OperationID: "change-agent", Method: http.MethodPatch, Path: "/v1/agents/{address}", Summary: "Change an agent",
	}, func(ctx context.Context, in *struct {
		AgentPath
		Body struct {
			WebhookURL optional[string] `json:"webhook_url,omitempty" nullable:"true" doc:"null: none."`
		} `nameHint:"AgentChange"`
	},
	) (*body[agent], error) {
		url := in.Body.WebhookURL
		if !url.Set {
			return s.oneAgent(ctx, in.Address, mailbox.GetAgent)
		}
		if url.Value != nil {
			if err := s.limits.ValidateURL("webhook_url", *url.Value); err != nil {
				return nil, err
			}
		}
		return s.oneAgent(ctx, in.Address, func(ctx context.Context, db pg.DB, tenant events.TenantID, address string) (mailbox.Agent, error) {
			return mailbox.SetWebhook(ctx, db, tenant, address, url.Value)
		})
	})
	register(s, tenants, huma.Operation{
		OperationID: "delete-agent", Method: http.MethodDelete, Path: "/v1/agents/{address}", DefaultStatus: http.StatusNoContent,
		Summary: "Delete an agent", Description: "Its address refuses mail from then on; what it has received stays.",
	}, func(ctx context.Context, in *AgentPath) (*struct{}, error) {
		_, err := s.oneAgent(ctx, in.Address, func(ctx context.Context, db pg.DB, tenant events.TenantID, address string) (mailbox.Agent, error) {
			return mailbox.Agent{}, mailbox.DeleteAgent(ctx, db, tenant, address)
		})
		return nil, err
	})
}

// oneAgent does something with one of the caller's agents. One that he has not
// is a 404.
func (s *server) oneAgent(ctx context.Context, address string, do func(context.Context, pg.DB, events.TenantID, string) (mailbox.Agent, error)) (*body[agent], error) {
	if !storable(address) {
		return nil, subscribers.ErrNotFound
	}
	a, err := do(ctx, s.pool, tenant(ctx), strings.ToLower(address))
	if err != nil {
		return nil, err
	}
	return reply(shown(a)), nil
}
