package main

import (
	"context"
	"net/http"
	"net/url"
)

type deliveriesCmd struct {
	List    deliveriesList    `cmd:"" help:"List deliveries, newest first." example:"fanmail deliveries list --status failed --since 24h\nfanmail deliveries list wh_0f6200056df917f91703ed6603d47d0e"`
	Get     deliveriesGet     `cmd:"" help:"Show a delivery with its attempts." example:"fanmail deliveries get whd_01a22446a5913ddb9899b5e09cf4a077"`
	Request deliveriesRequest `cmd:"" help:"Show the request of a delivery's last attempt: its headers and its body." example:"fanmail deliveries request whd_01a22446a5913ddb9899b5e09cf4a077"`
	Retry   deliveriesRetry   `cmd:"" help:"Retry a delivery now." example:"fanmail deliveries retry whd_01a22446a5913ddb9899b5e09cf4a077"`
}

type deliveriesList struct {
	reading
	page
	span
	Webhook string `arg:"" optional:"" help:"The webhook's id. Without it, the list has the deliveries of all webhooks." of:"webhook"`
	Status  string `help:"Only deliveries with this status: pending, delivered or failed." predictor:"status"`
	Type    string `help:"Only deliveries of events of this type." predictor:"type"`
}

func (c *deliveriesList) Run(ctx context.Context, s *session) error {
	query := queryOf("status", c.Status, "event_type", c.Type)
	if err := c.set(query); err != nil {
		return err
	}
	path, webhook := "/v1/deliveries", []column{{"WEBHOOK", "webhook_id"}}
	if c.Webhook != "" {
		path, webhook = "/v1/webhooks/"+url.PathEscape(c.Webhook)+"/deliveries", nil
	}
	columns := []column{
		{"ID", "id"},
		{"STATUS", "status"},
		{"CODE", "last_status_code"},
		{"ERROR", "last_error"},
		{"CREATED", "created_at"},
		{"TYPE", "event_type"},
		{"ATTEMPTS", "attempts"},
		{"NEXT", "next_retry_at"},
	}
	columns = append(append(columns, webhook...), column{"EVENT", "event_id"})
	return c.list(ctx, s, asTenant, path, c.page, query, columns...)
}

type deliveriesGet struct {
	reading
	ID string `arg:"" of:"delivery"`
}

func (c *deliveriesGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, "/v1/deliveries/"+url.PathEscape(c.ID), nil)
}

type deliveriesRetry struct {
	target
	ID string `arg:"" of:"delivery"`
}

func (c *deliveriesRetry) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/deliveries/"+url.PathEscape(c.ID)+"/retry", nil)
}

type deliveriesRequest struct {
	target
	ID string `arg:"" of:"delivery"`
}

func (c *deliveriesRequest) Run(ctx context.Context, s *session) error {
	path := "/v1/deliveries/" + url.PathEscape(c.ID) + "/request"
	if c.JSON {
		return c.show(ctx, s, asTenant, http.MethodGet, path, nil)
	}
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	var sent struct {
		Method, URL string
		Headers     []struct{ Name, Value string }
		Body        *string
	}
	if err := api.Do(ctx, http.MethodGet, path, nil, nil, &sent); err != nil {
		return err
	}
	s.say("%s %s", sent.Method, printable(sent.URL))
	for _, h := range sent.Headers {
		s.say("%s: %s", h.Name, printable(h.Value))
	}
	s.say("")
	if sent.Body == nil {
		s.note("The event has expired, and the body with it.")
		return nil
	}
	s.say("%s", printable(*sent.Body))
	return nil
}
