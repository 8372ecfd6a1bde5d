package main

import "context"

type auditCmd struct {
	target
	page
	span
	Operator  bool   `help:"Use the operator's key of DIR/credentials.json."`
	Tenant    string `placeholder:"ID" help:"Only changes of this tenant's data (ten_...). Needs an operator's key." of:"tenant"`
	Actor     string `placeholder:"ID" help:"Only changes by the key, member or portal link with this id or name."`
	Operation string `help:"Only changes by this operation of the API, such as change-webhook."`
	Object    string `placeholder:"ID" help:"Only changes of this object: an id, an address or a domain."`
}

// Run lists who changed what. With --json it also has the objects before and after.
func (c *auditCmd) Run(ctx context.Context, s *session) error {
	query := queryOf("tenant_id", c.Tenant, "actor", c.Actor, "operation", c.Operation, "object", c.Object)
	if err := c.set(query); err != nil {
		return err
	}
	return c.list(ctx, s, role(c.Operator || c.Tenant != ""), "/v1/audit", c.page, query,
		column{"AT", "at"}, column{"ACTOR", "actor_name"}, column{"KIND", "actor_kind"}, column{"OPERATION", "operation"},
		column{"OBJECT", "object"}, column{"ADDRESS", "address"}, column{"TENANT", "tenant_id"})
}
