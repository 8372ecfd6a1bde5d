package main

import (
	"context"
	"net/http"
	"net/url"
)

type erasuresCmd struct {
	List   erasuresList   `cmd:"" help:"List erasures, with what they removed." example:"fanmail erasures list"`
	Get    erasuresGet    `cmd:"" help:"Show an erasure: who asked, when, and what was removed." example:"fanmail erasures get era_5d2c1b0a9f8e7d6c5b4a392817060504"`
	Create erasuresCreate `cmd:"" help:"Erase all mail from and to an address, with its events and deliveries." example:"fanmail erasures create --address ann@example.com"`
}

type erasuresList struct {
	target
	page
	ofTenant
	Operator bool `help:"List those of all tenants, with the operator's key of DIR/credentials.json."`
}

func (c *erasuresList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, role(c.Operator || c.Tenant != ""), "/v1/erasures", c.page, queryOf("tenant_id", c.Tenant),
		column{"ID", "id"}, column{"KIND", "kind"}, column{"STATE", "state"}, column{"MESSAGE", "message_id"}, column{"BY", "requested_by"},
		column{"REQUESTED", "requested_at"}, column{"FINISHED", "finished_at"})
}

type erasuresGet struct {
	target
	Operator bool   `help:"Use the operator's key of DIR/credentials.json."`
	ID       string `arg:"" of:"erasure"`
}

func (c *erasuresGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, role(c.Operator), http.MethodGet, "/v1/erasures/"+url.PathEscape(c.ID), nil)
}

type erasuresCreate struct {
	target
	Address string `required:"" placeholder:"ADDRESS" help:"One whole address. Letters of either case are the same."`
}

// Run prints the erasure, which does not show the address.
func (c *erasuresCreate) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/erasures", map[string]any{"address": c.Address})
}
