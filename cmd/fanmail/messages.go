package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

type messagesCmd struct {
	Get     messagesGet     `cmd:"" help:"Show a message, with its delivery to its agent's own webhook." example:"fanmail messages get msg_3c2b1a0f9e8d7c6b5a49382716051423"`
	Delete  messagesDelete  `cmd:"" help:"Erase a message, with its raw mail, its events and their deliveries." example:"fanmail messages delete msg_3c2b1a0f9e8d7c6b5a49382716051423"`
	Deliver messagesDeliver `cmd:"" help:"Deliver a message to its agent's own webhook now, and print the outcome." example:"fanmail messages deliver msg_3c2b1a0f9e8d7c6b5a49382716051423"`
	Retry   messagesRetry   `cmd:"" help:"Make the delivery of a message to its agent's own webhook due now." example:"fanmail messages retry msg_3c2b1a0f9e8d7c6b5a49382716051423"`
}

func messageURL(id string) string { return "/v1/messages/" + url.PathEscape(id) }

type messagesGet struct {
	reading
	ID string `arg:"" of:"message"`
}

func (c *messagesGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, messageURL(c.ID), nil)
}

type messagesDelete struct {
	target
	ID string `arg:"" of:"message"`
}

// Run prints the erasure, which counts what is removed.
func (c *messagesDelete) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodDelete, messageURL(c.ID), nil)
}

type messagesDeliver struct {
	target
	ID string `arg:"" of:"message"`
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
	ID string `arg:"" of:"message"`
}

func (c *messagesRetry) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPost, messageURL(c.ID)+"/retry", nil)
}
