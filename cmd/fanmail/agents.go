package main

import (
	"context"
	"net/http"
	"net/url"
)

type agentsCmd struct {
	List   agentsList   `cmd:"" help:"List agents."`
	Get    agentsGet    `cmd:"" help:"Show an agent."`
	Create agentsCreate `cmd:"" help:"Create an agent."`
	Update agentsUpdate `cmd:"" help:"Change an agent's own webhook."`
	Delete agentsDelete `cmd:"" help:"Delete an agent. Its address then rejects mail, unless an agent *@domain takes it."`
}

type agentsList struct {
	target
	page
}

func (c *agentsList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, asTenant, "/v1/agents", c.page, nil,
		column{"ADDRESS", "address"}, column{"WEBHOOK", "webhook_url"}, column{"CREATED", "created_at"})
}

type agentsGet struct {
	target
	Address string `arg:""`
}

func (c *agentsGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, "/v1/agents/"+url.PathEscape(c.Address), nil)
}

type agentsCreate struct {
	target
	Address    string `arg:"" help:"The mail address; *@example.com takes what no other agent of the domain does."`
	WebhookURL string `name:"webhook-url" help:"The agent's own webhook."`
}

func (c *agentsCreate) Run(ctx context.Context, s *session) error {
	body := map[string]any{"address": c.Address}
	if c.WebhookURL != "" {
		body["webhook_url"] = c.WebhookURL
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/agents", body)
}

type agentsUpdate struct {
	target
	Address    string `arg:""`
	WebhookURL string `name:"webhook-url" help:"The agent's own webhook. Without the flag, the agent has none."`
}

func (c *agentsUpdate) Run(ctx context.Context, s *session) error {
	body := map[string]any{"webhook_url": nil}
	if c.WebhookURL != "" {
		body["webhook_url"] = c.WebhookURL
	}
	return c.show(ctx, s, asTenant, http.MethodPatch, "/v1/agents/"+url.PathEscape(c.Address), body)
}

type agentsDelete struct {
	target
	Address string `arg:""`
}

func (c *agentsDelete) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodDelete, "/v1/agents/"+url.PathEscape(c.Address), nil)
}
