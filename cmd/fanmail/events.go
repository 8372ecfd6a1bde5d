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
	List      eventsList      `cmd:"" help:"List events, newest first." example:"fanmail events list --type email.received --since 2h"`
	Find      eventsFind      `cmd:"" help:"Find events by id, mail address, Message-ID or subject." example:"fanmail events find 'Order 42'\nfanmail events find ann@shop.example --since 24h\nfanmail events find --from @shop.example --subject invoice"`
	Get       eventsGet       `cmd:"" help:"Show an event with its deliveries." example:"fanmail events get evt_01a22446a5907c1e8f1d3b5a7c9e1f20"`
	Tail      eventsTail      `cmd:"" help:"Print events as they are relayed." example:"fanmail events tail --type email.received --since 10m"`
	Create    eventsCreate    `cmd:"" help:"Create an event." example:"fanmail events create email.sent --data '{\"subject\":\"Hello\"}'"`
	Redeliver eventsRedeliver `cmd:"" help:"Redeliver an event." example:"fanmail events redeliver evt_01a22446a5907c1e8f1d3b5a7c9e1f20 --webhook wh_0f6200056df917f91703ed6603d47d0e"`
}

type eventsList struct {
	reading
	page
	span
	Type  string `help:"Only events of this type." predictor:"type"`
	Agent string `help:"Only events of this agent."`
}

func (c *eventsList) Run(ctx context.Context, s *session) error {
	query := queryOf("type", c.Type, "agent_id", c.Agent)
	if err := c.set(query); err != nil {
		return err
	}
	return c.list(ctx, s, asTenant, "/v1/events", c.page, query,
		column{"ID", "id"}, column{"TYPE", "type"}, column{"CREATED", "created_at"}, column{"AGENT", "agent_id"}, column{"MESSAGE", "message_id"})
}

type eventsCreate struct {
	target
	Type           string   `arg:"" help:"The event's type." predictor:"type"`
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
	ID      string `arg:"" of:"event"`
	Webhook string `help:"Redeliver to this webhook only." of:"webhook"`
}

func (c *eventsRedeliver) Run(ctx context.Context, s *session) error {
	body := map[string]any{}
	if c.Webhook != "" {
		body["webhook_id"] = c.Webhook
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/events/"+url.PathEscape(c.ID)+"/redeliver", body)
}
