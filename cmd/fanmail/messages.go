package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

type messagesCmd struct {
	Get     messagesGet     `cmd:"" help:"Show a message, with its delivery to its agent's own webhook."`
	Deliver messagesDeliver `cmd:"" help:"Deliver a message to its agent's own webhook now, and print the outcome."`
	Retry   messagesRetry   `cmd:"" help:"Make the delivery of a message to its agent's own webhook due now."`
}

func messageURL(id string) string { return "/v1/messages/" + url.PathEscape(id) }

type messagesGet struct {
	reading
	ID string `arg:""`
}

func (c *messagesGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, messageURL(c.ID), nil)
}

type messagesDeliver struct {
	target
	ID string `arg:""`
}

// Run fails where the endpoint does not answer 2xx.
func (c *messagesDeliver) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := api.Do(ctx, http.MethodPost, messageURL(c.ID)+"/deliver", nil, nil, &answer); err != nil {
		return err
	}
	var outcome struct {
		Success bool   `json:"success"`
		Error   string `json:"error"`
	}
	if err := json.Unmarshal(answer, &outcome); err != nil {
		return fmt.Errorf("decode the response: %w", err)
	}
	if c.JSON {
		err = s.printJSON(answer)
	} else {
		err = s.printObject(answer)
	}
	if err != nil || outcome.Success {
		return err
	}
	return fmt.Errorf("the message was not delivered: %s", printable(outcome.Error))
}

type messagesRetry struct {
	target
	ID string `arg:""`
}

func (c *messagesRetry) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPost, messageURL(c.ID)+"/retry", nil)
}
