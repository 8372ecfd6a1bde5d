package main

import (
	"context"
	"net/http"
	"net/url"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type keysCmd struct {
	List      keysList      `cmd:"" help:"List keys."`
	Create    keysCreate    `cmd:"" help:"Create a key. Its secret is shown only now."`
	Rotate    keysRotate    `cmd:"" help:"Give a key a new secret, which is shown only now."`
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
		column{"BEGINS", "prefix"}, column{"LAST USED", "last_used_at"}, column{"EXPIRES", "expires_at"}, column{"CREATED", "created_at"})
}

type keysCreate struct {
	target
	Tenant string   `help:"The id (ten_...) of the tenant that gets the key. Needs an operator's key."`
	Name   string   `help:"The purpose of the key."`
	Scopes []string `name:"scope" help:"The roles of the key: admin, write, replay, read or send-only. Defaults to admin."`
	// The server knows the limits of both.
	Networks  []string `name:"network" placeholder:"CIDR" help:"A network from which the key is accepted, such as 192.0.2.0/24. Defaults to all."`
	ExpiresIn string   `placeholder:"DURATION" help:"After how long the key is refused, such as 720h. Defaults to never."`
}

func (c *keysCreate) Run(ctx context.Context, s *session) error {
	body := map[string]any{}
	if c.Tenant != "" {
		if err := tenantID(c.Tenant); err != nil {
			return err
		}
		body["tenant_id"] = c.Tenant
	}
	if c.Name != "" {
		body["name"] = c.Name
	}
	if len(c.Scopes) > 0 {
		body["scopes"] = c.Scopes
	}
	if len(c.Networks) > 0 {
		body["networks"] = c.Networks
	}
	if c.ExpiresIn != "" {
		body["expires_in"] = c.ExpiresIn
	}
	return c.show(ctx, s, role(c.Tenant != ""), http.MethodPost, "/v1/keys", body)
}

type keysRotate struct {
	target
	ID       string `arg:""`
	Overlap  string `default:"24h" placeholder:"DURATION" help:"For how long the previous secret is accepted too, such as 24h; 0s ends it at once."`
	Operator bool   `help:"Use the operator's key of DIR/credentials.json."`
}

func (c *keysRotate) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, role(c.Operator), http.MethodPost, "/v1/keys/"+url.PathEscape(c.ID)+"/rotate", map[string]any{"overlap": c.Overlap})
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
