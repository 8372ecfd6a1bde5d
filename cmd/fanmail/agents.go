package main

import (
	"context"
	"net/http"
	"net/url"

	"github.com/alecthomas/kong"
)

type agentsCmd struct {
	List   agentsList   `cmd:"" help:"List agents." example:"fanmail agents list"`
	Get    agentsGet    `cmd:"" help:"Show an agent." example:"fanmail agents get robot@example.com"`
	Create agentsCreate `cmd:"" help:"Create an agent." example:"fanmail agents create robot@example.com\nfanmail agents create '*@example.com' --require-dmarc"`
	Update agentsUpdate `cmd:"" help:"Change an agent's own webhook, and from whom it accepts mail." example:"fanmail agents update robot@example.com --webhook-url https://example.com/mail\nfanmail agents update robot@example.com --clear webhook_url,allow_senders"`
	Delete agentsDelete `cmd:"" help:"Delete an agent. Its address then rejects mail, unless an agent *@domain takes it." example:"fanmail agents delete robot@example.com"`

	Deliveries agentsDeliveries `cmd:"" help:"List the deliveries to an agent's own webhook, newest first." example:"fanmail agents deliveries robot@example.com --status failed"`
}

type agentsList struct {
	reading
	page
}

func (c *agentsList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, asTenant, "/v1/agents", c.page, nil,
		column{"ADDRESS", "address"}, column{"WEBHOOK", "webhook_url"}, column{"CREATED", "created_at"})
}

type agentsDeliveries struct {
	reading
	page
	Address string `arg:""`
	Status  string `help:"Only deliveries with this status: pending, delivered or failed." predictor:"status"`
}

func (c *agentsDeliveries) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, asTenant, "/v1/agents/"+url.PathEscape(c.Address)+"/deliveries", c.page, queryOf("status", c.Status),
		column{"MESSAGE", "message_id"}, column{"STATUS", "status"}, column{"ATTEMPTS", "attempts"}, column{"ERROR", "last_error"},
		column{"NEXT", "next_retry_at"}, column{"CREATED", "created_at"})
}

type agentsGet struct {
	reading
	Address string `arg:""`
}

func (c *agentsGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, "/v1/agents/"+url.PathEscape(c.Address), nil)
}

// senderFlags say from whom an agent accepts mail; nil means absent.
type senderFlags struct {
	Allow        []string `name:"allow-sender" placeholder:"SENDER" help:"Accept only mail of this author: name@example.com, @example.com, or *.example.com for subdomains. May be repeated."`
	Deny         []string `name:"deny-sender" placeholder:"SENDER" help:"Refuse mail of this sender, in the same forms. May be repeated."`
	RequireDMARC *bool    `name:"require-dmarc" negatable:"" help:"Accept only mail of which the domain in From passes DMARC."`
}

func (f *senderFlags) into(body map[string]any) {
	if len(f.Allow) > 0 {
		body["allow_senders"] = f.Allow
	}
	if len(f.Deny) > 0 {
		body["deny_senders"] = f.Deny
	}
	if f.RequireDMARC != nil {
		body["require_dmarc"] = *f.RequireDMARC
	}
}

type agentsCreate struct {
	target
	senderFlags
	Address    string `arg:"" help:"The mail address; *@example.com takes what no other agent of the domain does."`
	WebhookURL string `name:"webhook-url" help:"The agent's own webhook."`
}

func (c *agentsCreate) Run(ctx context.Context, s *session) error {
	body := map[string]any{"address": c.Address}
	if c.WebhookURL != "" {
		body["webhook_url"] = c.WebhookURL
	}
	c.into(body)
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/agents", body)
}

type agentsUpdate struct {
	target
	senderFlags
	Clear      []string `enum:"webhook_url, allow_senders, deny_senders, require_dmarc" placeholder:"SETTING,…" help:"Settings to clear: ${enum}."`
	Address    string   `arg:""`
	WebhookURL *string  `name:"webhook-url" help:"The agent's own webhook."`
}

func (c *agentsUpdate) Run(ctx context.Context, s *session, k *kong.Context) error {
	body := map[string]any{}
	if c.WebhookURL != nil {
		body["webhook_url"] = *c.WebhookURL
	}
	c.into(body)
	return c.change(ctx, s, k, "/v1/agents/"+url.PathEscape(c.Address), body, c.Clear)
}

type agentsDelete struct {
	target
	Address string `arg:""`
}

func (c *agentsDelete) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodDelete, "/v1/agents/"+url.PathEscape(c.Address), nil)
}
