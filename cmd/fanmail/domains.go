package main

import (
	"context"
	"net/http"
	"net/url"
)

type domainsCmd struct {
	List   domainsList   `cmd:"" help:"List domains." example:"fanmail domains list"`
	Get    domainsGet    `cmd:"" help:"Show a domain and the DNS record that proves it." example:"fanmail domains get example.com"`
	Create domainsCreate `cmd:"" aliases:"add" help:"Create a domain. With --tenant, give it to a tenant, verified (for operators)." example:"fanmail domains create example.com"`
	Verify domainsVerify `cmd:"" help:"Look up the domain's DNS record." example:"fanmail domains verify example.com"`
	Delete domainsDelete `cmd:"" help:"Delete a domain without agents. Other tenants can't verify it for 30 days." example:"fanmail domains delete example.com"`
}

// ofTenant selects the tenant of a command.
type ofTenant struct {
	Tenant string `help:"The tenant. Needs an operator's key." of:"tenant"`
}

func (t *ofTenant) role() role { return role(t.Tenant != "") }

// query is the query of a path, with its question mark, or "".
func (t *ofTenant) query() string {
	if t.Tenant == "" {
		return ""
	}
	return "?" + url.Values{"tenant_id": {t.Tenant}}.Encode()
}

type domainsList struct {
	target
	page
	ofTenant
}

func (c *domainsList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, c.role(), "/v1/domains", c.page, queryOf("tenant_id", c.Tenant),
		column{"DOMAIN", "domain"}, column{"VERIFIED", "verified_at"}, column{"CREATED", "created_at"})
}

type domainsGet struct {
	target
	ofTenant
	Domain string `arg:""`
}

func (c *domainsGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, c.role(), http.MethodGet, "/v1/domains/"+url.PathEscape(c.Domain)+c.query(), nil)
}

type domainsCreate struct {
	target
	ofTenant
	Domain string `arg:"" help:"Such as example.com. Operators may give '*': every domain that no other tenant has."`
}

func (c *domainsCreate) Run(ctx context.Context, s *session) error {
	body := map[string]any{"domain": c.Domain}
	if c.Tenant != "" {
		body["tenant_id"] = c.Tenant
	}
	return c.show(ctx, s, c.role(), http.MethodPost, "/v1/domains", body)
}

type domainsVerify struct {
	target
	ofTenant
	Domain string `arg:""`
}

func (c *domainsVerify) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, c.role(), http.MethodPost, "/v1/domains/"+url.PathEscape(c.Domain)+"/verify"+c.query(), nil)
}

type domainsDelete struct {
	target
	ofTenant
	Domain string `arg:""`
}

func (c *domainsDelete) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, c.role(), http.MethodDelete, "/v1/domains/"+url.PathEscape(c.Domain)+c.query(), nil)
}
