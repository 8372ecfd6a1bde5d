package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type keysCmd struct {
	List      keysList      `cmd:"" help:"List keys."`
	Create    keysCreate    `cmd:"" help:"Create a key. Its secret is shown only now."`
	Delete    keysDelete    `cmd:"" help:"Revoke a key."`
	Bootstrap keysBootstrap `cmd:"" help:"Create the first operator's key, directly in the database."`
}

type keysList struct {
	target
	page
	Operator bool `help:"Use the operator's key of DIR/credentials.json."`
}

func (c *keysList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, role(c.Operator), "/v1/keys", c.page, nil,
		column{"ID", "id"}, column{"TENANT", "tenant_id"}, column{"NAME", "name"}, column{"SCOPES", "scopes"},
		column{"LAST USED", "last_used_at"}, column{"CREATED", "created_at"})
}

type keysCreate struct {
	target
	Tenant string   `help:"The id (ten_...) of the tenant that gets the key. Needs an operator's key."`
	Name   string   `help:"The purpose of the key."`
	Scopes []string `name:"scope" help:"What the key may do: read, write. Defaults to all."`
}

func (c *keysCreate) Run(ctx context.Context, s *session) error {
	body := map[string]any{}
	if c.Tenant != "" {
		if !strings.HasPrefix(c.Tenant, "ten_") {
			return fmt.Errorf("--tenant must be a tenant's id (ten_...), not %q; `fanmail tenants list` shows names with their ids", c.Tenant)
		}
		body["tenant_id"] = c.Tenant
	}
	if c.Name != "" {
		body["name"] = c.Name
	}
	if len(c.Scopes) > 0 {
		body["scopes"] = c.Scopes
	}
	return c.show(ctx, s, role(c.Tenant != ""), http.MethodPost, "/v1/keys", body)
}

type keysDelete struct {
	target
	ID       string `arg:""`
	Operator bool   `help:"Use the operator's key of DIR/credentials.json."`
}

func (c *keysDelete) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, role(c.Operator), http.MethodDelete, "/v1/keys/"+url.PathEscape(c.ID), nil)
}

type keysBootstrap struct {
	app.Database
	app.Waiting
	app.Logging
}

func (c *keysBootstrap) Run(ctx context.Context, s *session) error {
	log, err := c.Logger()
	if err != nil {
		return err
	}
	secret, err := app.NewOperatorKey(ctx, c.Database, c.Waiting, log)
	if err != nil {
		return err
	}
	s.say("%s", secret)
	return nil
}

type tenantsCmd struct {
	List   tenantsList   `cmd:"" help:"List tenants."`
	Create tenantsCreate `cmd:"" help:"Create a tenant."`
	Quota  tenantsQuota  `cmd:"" help:"Show what a tenant uses and may use. With flags, change its limits (for operators)."`
}

type tenantsList struct {
	target
	page
	Name string `placeholder:"TEXT" help:"Only tenants whose name begins with this."`
}

func (c *tenantsList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, asOperator, "/v1/tenants", c.page, queryOf("name", c.Name),
		column{"ID", "id"}, column{"NAME", "name"}, column{"CREATED", "created_at"})
}

type tenantsCreate struct {
	target
	Name string `arg:""`
}

func (c *tenantsCreate) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asOperator, http.MethodPost, "/v1/tenants", map[string]any{"name": c.Name})
}
