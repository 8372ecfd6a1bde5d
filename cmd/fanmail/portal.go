package main

import (
	"context"
	"net/http"
	"net/url"
)

type portalLinksCmd struct {
	List   portalLinksList   `cmd:"" help:"List the portal links that are valid."`
	Create portalLinksCreate `cmd:"" help:"Create a link that shows webhooks to a customer. Its URL is shown only now."`
	Revoke portalLinksRevoke `cmd:"" help:"Revoke a portal link."`
}

type portalLinksList struct {
	reading
	page
}

func (c *portalLinksList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, asTenant, "/v1/portal-links", c.page, nil,
		column{"ID", "id"}, column{"WEBHOOKS", "webhook_ids"}, column{"ORIGINS", "origins"}, column{"EXPIRES", "expires_at"}, column{"CREATED", "created_at"})
}

type portalLinksCreate struct {
	target
	Webhooks  []string `arg:"" help:"The ids of the webhooks that the link shows."`
	ExpiresIn string   `placeholder:"DURATION" help:"How long the link is valid, from 1m to 720h. Defaults to 1h."`
	Origins   []string `name:"origin" placeholder:"URL" help:"An origin whose pages may show the link in a frame, such as https://app.example.com."`
	Accent    string   `placeholder:"#RRGGBB" help:"The colour of links and buttons."`
	Language  string   `placeholder:"LANGUAGE" help:"The language of the pages: en or de. Defaults to en."`
}

func (c *portalLinksCreate) Run(ctx context.Context, s *session) error {
	body := map[string]any{"webhook_ids": c.Webhooks}
	if c.ExpiresIn != "" {
		body["expires_in"] = c.ExpiresIn
	}
	if len(c.Origins) > 0 {
		body["origins"] = c.Origins
	}
	theme := map[string]any{}
	if c.Accent != "" {
		theme["accent"] = c.Accent
	}
	if c.Language != "" {
		theme["language"] = c.Language
	}
	if len(theme) > 0 {
		body["theme"] = theme
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/portal-links", body)
}

type portalLinksRevoke struct {
	target
	ID string `arg:"" help:"The link's id, ptl_..."`
}

func (c *portalLinksRevoke) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodDelete, "/v1/portal-links/"+url.PathEscape(c.ID), nil)
}
