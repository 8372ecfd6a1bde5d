package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/alecthomas/kong"
)

type eventTypesCmd struct {
	List   eventTypesList   `cmd:"" help:"List event types: the built-in ones, the operator's and the tenant's own." example:"fanmail event-types list --source tenant"`
	Get    eventTypesGet    `cmd:"" help:"Show an event type with its schema and its sample." example:"fanmail event-types get email.received"`
	Create eventTypesCreate `cmd:"" help:"Create an event type of your own." example:"fanmail event-types create order.created --description 'An order was placed.' --sample '{\"id\": \"o-17\"}'"`
	Update eventTypesUpdate `cmd:"" help:"Change an event type." example:"fanmail event-types update order.created --deprecated --clear schema"`
	Delete eventTypesDelete `cmd:"" help:"Delete an event type that no webhook names." example:"fanmail event-types delete order.created"`
}

// forAll selects whose types a command changes.
type forAll struct {
	ForAll bool `help:"A type for every tenant. Needs an operator's key."`
}

type eventTypesList struct {
	target
	page
	ofTenant
	forAll
	Source string `enum:"built_in,operator,tenant," default:"" placeholder:"SOURCE" help:"Only those of built_in, operator or tenant."`
}

func (c *eventTypesList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, c.role() || role(c.ForAll), "/v1/event-types", c.page, queryOf("tenant_id", c.Tenant, "source", c.Source),
		column{"NAME", "name"}, column{"SOURCE", "source"}, column{"VALIDATED", "validated"}, column{"DEPRECATED", "deprecated"}, column{"DESCRIPTION", "description"})
}

type eventTypesGet struct {
	target
	ofTenant
	forAll
	Name string `arg:""`
}

func (c *eventTypesGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, c.role() || role(c.ForAll), http.MethodGet, "/v1/event-types/"+url.PathEscape(c.Name)+c.query(), nil)
}

// typeFlags are the fields of an event type; nil means absent.
type typeFlags struct {
	Description *string `help:"What it means: one line."`
	Schema      *string `placeholder:"JSON" help:"A JSON Schema of the data, or @FILE. Events that do not fit are refused."`
	Sample      *string `placeholder:"JSON" help:"Data of a test delivery, or @FILE. It must fit the schema."`
}

// into adds the given fields to a request.
func (f *typeFlags) into(body map[string]any) error {
	if f.Description != nil {
		body["description"] = *f.Description
	}
	for name, given := range map[string]*string{"schema": f.Schema, "sample": f.Sample} {
		if given == nil {
			continue
		}
		text, err := textOrFile("--"+name, *given)
		if err != nil {
			return err
		}
		if !json.Valid([]byte(text)) {
			return fmt.Errorf("--%s is not JSON", name)
		}
		body[name] = json.RawMessage(text)
	}
	return nil
}

type eventTypesCreate struct {
	target
	forAll
	typeFlags
	Name string `arg:"" help:"Such as order.created: two or more parts of lower-case letters, digits, _ and -."`
}

func (c *eventTypesCreate) Run(ctx context.Context, s *session) error {
	body := map[string]any{"name": c.Name}
	if err := c.into(body); err != nil {
		return err
	}
	return c.show(ctx, s, role(c.ForAll), http.MethodPost, "/v1/event-types", body)
}

type eventTypesUpdate struct {
	target
	forAll
	typeFlags
	Deprecated *bool    `negatable:"" help:"Mark it as deprecated. It works as before."`
	Clear      []string `enum:"schema,sample" placeholder:"SETTING,…" help:"Settings to clear: ${enum}."`
	Name       string   `arg:""`
}

func (c *eventTypesUpdate) Run(ctx context.Context, s *session, k *kong.Context) error {
	body := map[string]any{}
	if err := c.into(body); err != nil {
		return err
	}
	if c.Deprecated != nil {
		body["deprecated"] = *c.Deprecated
	}
	if err := changes(k.Selected(), body, c.Clear); err != nil {
		return err
	}
	return c.show(ctx, s, role(c.ForAll), http.MethodPatch, "/v1/event-types/"+url.PathEscape(c.Name), body)
}

type eventTypesDelete struct {
	target
	forAll
	Name string `arg:""`
}

func (c *eventTypesDelete) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, role(c.ForAll), http.MethodDelete, "/v1/event-types/"+url.PathEscape(c.Name), nil)
}
