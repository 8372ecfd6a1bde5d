package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

type eventsCmd struct {
	List      eventsList      `cmd:"" help:"List events, newest first."`
	Find      eventsFind      `cmd:"" help:"Find events by id, mail address, Message-ID or subject."`
	Get       eventsGet       `cmd:"" help:"Show an event with its deliveries."`
	Tail      eventsTail      `cmd:"" help:"Print events as they are relayed."`
	Create    eventsCreate    `cmd:"" help:"Create an event."`
	Redeliver eventsRedeliver `cmd:"" help:"Redeliver an event."`
}

type eventsList struct {
	reading
	page
	span
	Type  string `help:"Only events of this type."`
	Agent string `help:"Only events of this agent."`
}

func (c *eventsList) Run(ctx context.Context, s *session) error {
	query := queryOf("type", c.Type, "agent_id", c.Agent)
	if err := c.set(query); err != nil {
		return err
	}
	return c.list(ctx, s, asTenant, "/v1/events", c.page, query,
		column{"ID", "id"}, column{"TYPE", "type"}, column{"AGENT", "agent_id"},
		column{"MESSAGE", "message_id"}, column{"CREATED", "created_at"})
}

type eventsCreate struct {
	target
	Type           string   `arg:"" help:"The event's type."`
	Data           string   `default:"-" help:"The event's data, a JSON object. - reads standard input."`
	Agent          string   `help:"The agent of the event."`
	Conversation   string   `help:"The conversation of the event."`
	Message        string   `help:"The message of the event."`
	Labels         []string `name:"label" help:"A label of the event."`
	IdempotencyKey string   `help:"Creates one event for all calls with the same key and type."`
}

func (c *eventsCreate) Run(ctx context.Context, s *session) error {
	data := []byte(c.Data)
	if c.Data == "-" {
		var err error
		if data, err = io.ReadAll(s.in); err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
	if !json.Valid(data) {
		return errors.New("--data is not JSON")
	}
	body := map[string]any{"type": c.Type, "data": json.RawMessage(data)}
	for name, v := range map[string]string{
		"agent_id": c.Agent, "conversation_id": c.Conversation, "message_id": c.Message, "idempotency_key": c.IdempotencyKey,
	} {
		if v != "" {
			body[name] = v
		}
	}
	if len(c.Labels) > 0 {
		body["labels"] = c.Labels
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/events", body)
}

type eventsRedeliver struct {
	target
	ID      string `arg:""`
	Webhook string `help:"Redeliver to this webhook only."`
}

func (c *eventsRedeliver) Run(ctx context.Context, s *session) error {
	body := map[string]any{}
	if c.Webhook != "" {
		body["webhook_id"] = c.Webhook
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/events/"+url.PathEscape(c.ID)+"/redeliver", body)
}
