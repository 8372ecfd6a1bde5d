package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
)

type portalLinksCmd struct {
	List   portalLinksList   `cmd:"" help:"List the portal links that are valid." example:"fanmail portal-links list"`
	Create portalLinksCreate `cmd:"" help:"Create a link that shows webhooks to a customer. Its URL is shown only now." example:"fanmail portal-links create wh_0f6200056df917f91703ed6603d47d0e --expires-in 24h"`
	Revoke portalLinksRevoke `cmd:"" help:"Revoke a portal link." example:"fanmail portal-links revoke ptl_77a1b2c3d4e5f60718293a4b5c6d7e8f"`
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
	Webhooks  []string `arg:"" help:"The ids of the webhooks that the link shows." of:"webhook"`
	ExpiresIn string   `placeholder:"DURATION" help:"How long the link is valid, from 1m to 720h. Defaults to 1h."`
	Origins   []string `name:"origin" placeholder:"URL" help:"An origin whose pages may show the link in a frame, such as https://app.example.com."`
	Language  string   `placeholder:"LANGUAGE" help:"The language of the pages: en or de. Defaults to en." predictor:"language"`

	Accent     string `placeholder:"#RRGGBB" help:"The colour of links and buttons."`
	Ink        string `placeholder:"#RRGGBB" help:"The colour of text."`
	Background string `placeholder:"#RRGGBB" help:"The colour behind everything."`
	Card       string `placeholder:"#RRGGBB" help:"The colour behind tables and panels."`
	Line       string `placeholder:"#RRGGBB" help:"The colour of borders."`
	Logo       string `type:"existingfile" placeholder:"FILE" help:"A logo: a PNG or JPEG of at most 32 KiB."`
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
	for name, text := range map[string]string{
		"accent": c.Accent, "ink": c.Ink, "background": c.Background, "card": c.Card, "line": c.Line, "language": c.Language,
	} {
		if text != "" {
			theme[name] = text
		}
	}
	if c.Logo != "" {
		content, err := os.ReadFile(c.Logo)
		if err != nil {
			return fmt.Errorf("read the logo: %w", err)
		}
		theme["logo"] = "data:" + http.DetectContentType(content) + ";base64," + base64.StdEncoding.EncodeToString(content)
	}
	if len(theme) > 0 {
		body["theme"] = theme
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/portal-links", body)
}

type portalLinksRevoke struct {
	target
	ID string `arg:"" help:"The link's id, ptl_..." of:"portal link"`
}

func (c *portalLinksRevoke) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodDelete, "/v1/portal-links/"+url.PathEscape(c.ID), nil)
}
