package main

import (
	"context"
	"net/http"
	"net/url"

	"github.com/alecthomas/kong"

	"github.com/fanmail-dev/fanmail/internal/app"
)

type keysCmd struct {
	List      keysList      `cmd:"" help:"List keys." example:"fanmail keys list"`
	Create    keysCreate    `cmd:"" help:"Create a key. Its secret is shown only now." example:"fanmail keys create --name 'CI' --scope write --expires-in 720h\nfanmail keys create --tenant ten_adc7fce8dd71a9ff092a905e3b48f4fa --name admin"`
	Rotate    keysRotate    `cmd:"" help:"Give a key a new secret, which is shown only now." example:"fanmail keys rotate key_5b1f0c9d2e7a4836b5c4d3e2f1a09b87 --overlap 1h"`
	Revoke    keysRevoke    `cmd:"" aliases:"delete" help:"Revoke a key." example:"fanmail keys revoke key_5b1f0c9d2e7a4836b5c4d3e2f1a09b87"`
	Bootstrap keysBootstrap `cmd:"" help:"Create an operator's key, directly in the database: the first one, or another one if all are lost. Whoever has the database can. The key is shown only now." example:"fanmail keys bootstrap --database-url postgres://fanmail@db.example.com/fanmail"`
}

type keysList struct {
	target
	page
	Operator bool `help:"Use the operator's key of DIR/credentials.json."`
}

func (c *keysList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, role(c.Operator), "/v1/keys", c.page, nil,
		column{"ID", "id"}, column{"NAME", "name"}, column{"SCOPES", "scopes"},
		column{"BEGINS", "prefix"}, column{"LAST USED", "last_used_at"}, column{"EXPIRES", "expires_at"}, column{"CREATED", "created_at"},
		column{"TENANT", "tenant_id"})
}

type keysCreate struct {
	target
	Tenant string   `help:"The id (ten_...) of the tenant that gets the key. Needs an operator's key." of:"tenant"`
	Name   string   `help:"The purpose of the key."`
	Scopes []string `name:"scope" help:"The roles of the key: admin, write, replay, read, send-only or consume. Defaults to admin." predictor:"role"`
	// The server knows the limits of both.
	Networks  []string `name:"network" placeholder:"CIDR" help:"A network from which the key is accepted, such as 192.0.2.0/24. Defaults to all."`
	ExpiresIn string   `placeholder:"DURATION" help:"After how long the key is refused, such as 720h. Defaults to never."`
}

func (c *keysCreate) Run(ctx context.Context, s *session) error {
	body := map[string]any{}
	if c.Tenant != "" {
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
	ID       string `arg:"" of:"key"`
	Overlap  string `default:"24h" placeholder:"DURATION" help:"For how long the previous secret is accepted too, such as 24h; 0s ends it at once."`
	Operator bool   `help:"Use the operator's key of DIR/credentials.json."`
}

func (c *keysRotate) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, role(c.Operator), http.MethodPost, "/v1/keys/"+url.PathEscape(c.ID)+"/rotate", map[string]any{"overlap": c.Overlap})
}

type keysRevoke struct {
	target
	ID       string `arg:"" of:"key"`
	Operator bool   `help:"Use the operator's key of DIR/credentials.json."`
}

func (c *keysRevoke) Run(ctx context.Context, s *session) error {
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
	List    tenantsList    `cmd:"" help:"List tenants." example:"fanmail tenants list --name acme"`
	Create  tenantsCreate  `cmd:"" help:"Create a tenant." example:"fanmail tenants create acme"`
	Delete  tenantsDelete  `cmd:"" help:"Delete a tenant: refuse it at once, and erase all that it has when the grace period is over." example:"fanmail tenants delete ten_adc7fce8dd71a9ff092a905e3b48f4fa --grace 24h"`
	Restore tenantsRestore `cmd:"" help:"Restore a deleted tenant within its grace period." example:"fanmail tenants restore ten_adc7fce8dd71a9ff092a905e3b48f4fa"`
	Alerts  tenantsAlerts  `cmd:"" help:"Show who gets mails about a tenant's failing webhooks. With flags, change it (for operators)." example:"fanmail tenants alerts ten_adc7fce8dd71a9ff092a905e3b48f4fa --to oncall@example.com\nfanmail tenants alerts ten_adc7fce8dd71a9ff092a905e3b48f4fa --clear alert_addresses"`
	Quota   tenantsQuota   `cmd:"" help:"Show what a tenant uses and may use. With flags, change its limits (for operators)." example:"fanmail tenants quota ten_adc7fce8dd71a9ff092a905e3b48f4fa\nfanmail tenants quota ten_adc7fce8dd71a9ff092a905e3b48f4fa --events-a-day 20000 --clear bytes_per_day"`
}

type tenantsList struct {
	target
	page
	Name string `placeholder:"TEXT" help:"Only tenants whose name begins with this."`
}

func (c *tenantsList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, asOperator, "/v1/tenants", c.page, queryOf("name", c.Name),
		column{"ID", "id"}, column{"NAME", "name"}, column{"CREATED", "created_at"}, column{"DELETED", "deleted_at"})
}

type tenantsDelete struct {
	target
	ID    string `arg:"" of:"tenant"`
	Grace string `placeholder:"DURATION" help:"The time until the erasure begins, from 1m to 720h. Defaults to 168h, which is 7 days."`
}

// Run prints the erasure, which counts what is removed.
func (c *tenantsDelete) Run(ctx context.Context, s *session) error {
	path := "/v1/tenants/" + url.PathEscape(c.ID)
	if c.Grace != "" {
		path += "?" + url.Values{"grace": {c.Grace}}.Encode()
	}
	return c.show(ctx, s, asOperator, http.MethodDelete, path, nil)
}

type tenantsRestore struct {
	target
	ID string `arg:"" of:"tenant"`
}

func (c *tenantsRestore) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asOperator, http.MethodPost, "/v1/tenants/"+url.PathEscape(c.ID)+"/restore", nil)
}

type tenantsCreate struct {
	target
	Name string `arg:""`
}

func (c *tenantsCreate) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asOperator, http.MethodPost, "/v1/tenants", map[string]any{"name": c.Name})
}

type tenantsAlerts struct {
	target
	Tenant    string   `arg:"" help:"The tenant's id." of:"tenant"`
	Addresses []string `name:"to" placeholder:"ADDRESS" help:"A mail address, in place of those that are set. Repeat it for several."`
	Clear     []string `enum:"alert_addresses" placeholder:"SETTING" help:"Setting to take away: ${enum}."`
}

func (c *tenantsAlerts) Run(ctx context.Context, s *session, k *kong.Context) error {
	path := "/v1/tenants/" + url.PathEscape(c.Tenant)
	if len(c.Clear)+len(c.Addresses) == 0 {
		return c.show(ctx, s, asOperator, http.MethodGet, path, nil)
	}
	body := map[string]any{}
	if len(c.Addresses) > 0 {
		body["alert_addresses"] = c.Addresses
	}
	if err := changes(k.Selected(), body, c.Clear); err != nil {
		return err
	}
	return c.show(ctx, s, asOperator, http.MethodPatch, path, body)
}
