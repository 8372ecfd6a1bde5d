package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
)

type webhooksCmd struct {
	List    webhooksList    `cmd:"" help:"List webhooks."`
	Get     webhooksGet     `cmd:"" help:"Show a webhook."`
	Create  webhooksCreate  `cmd:"" help:"Create a webhook. Its signing secret is shown only now."`
	Update  webhooksUpdate  `cmd:"" help:"Change a webhook."`
	Enable  webhooksEnable  `cmd:"" help:"Enable a webhook. Its pending deliveries start at once."`
	Disable webhooksDisable `cmd:"" help:"Disable a webhook. Its deliveries stay pending; it misses later events."`
	Pause   webhooksPause   `cmd:"" help:"Pause a webhook. Its deliveries wait, later events too."`
	Resume  webhooksResume  `cmd:"" help:"Resume a paused webhook. Its deliveries start at once."`
	Delete  webhooksDelete  `cmd:"" help:"Delete a webhook."`
	Rotate  webhooksRotate  `cmd:"" aliases:"rotate-secret" help:"Create a new signing secret. For 24 h, the old one signs too."`
	Retry   webhooksRetry   `cmd:"" help:"Retry the failed deliveries of a window now."`
	Test    webhooksTest    `cmd:"" help:"Send a test delivery."`
	Lane    webhooksLane    `cmd:"" help:"Show a webhook's lane: owner, state, window, backlog."`
}

// webhookSettings are the fields of a webhook; nil means absent.
type webhookSettings struct {
	URL           *string  `help:"The URL to POST to."`
	Events        []string `help:"Event types, or *."`
	Agents        []string `name:"agent" help:"Only events of these agents."`
	Conversations []string `name:"conversation" help:"Only events of these conversations."`
	Labels        []string `name:"label" help:"Only events with one of these labels."`
	Description   *string  `help:"The purpose of the webhook."`
	MaxInFlight   *int     `help:"Upper limit of attempts in flight, 1 to 4096."`
	RateLimit     *int     `help:"Maximum number of attempts a second."`
	Ordering      *string  `help:"Order of deliveries: none or strict."`
	gatewayFlags
}

func (w *webhookSettings) body() (map[string]any, error) {
	b := map[string]any{}
	for name, v := range map[string]*string{"url": w.URL, "description": w.Description, "ordering": w.Ordering} {
		if v != nil {
			b[name] = *v
		}
	}
	for name, v := range map[string]*int{"max_in_flight": w.MaxInFlight, "rate_limit": w.RateLimit} {
		if v != nil {
			b[name] = *v
		}
	}
	if len(w.Events) > 0 {
		b["events"] = w.Events
	}
	filters := map[string][]string{}
	for name, v := range map[string][]string{"agent_ids": w.Agents, "conversation_ids": w.Conversations, "labels": w.Labels} {
		if len(v) > 0 {
			filters[name] = v
		}
	}
	if len(filters) > 0 {
		b["filters"] = filters
	}
	return b, w.into(b)
}

type webhooksList struct {
	reading
	page
}

func (c *webhooksList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, asTenant, "/v1/webhooks", c.page, nil,
		column{"ID", "id"}, column{"URL", "url"}, column{"EVENTS", "events"}, column{"ENABLED", "enabled"}, column{"PAUSED", "paused"},
		column{"LAST DELIVERED", "last_delivered_at"}, column{"DESCRIPTION", "description"})
}

type webhooksGet struct {
	reading
	ID string `arg:""`
}

func (c *webhooksGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, "/v1/webhooks/"+url.PathEscape(c.ID), nil)
}

type webhooksCreate struct {
	target
	webhookSettings
	Disabled      bool    `help:"Create the webhook disabled."`
	Paused        bool    `help:"Create the webhook paused."`
	SigningSecret *string `help:"A signing secret to bring along, or @FILE: 16 to 200 characters."`
}

func (c *webhooksCreate) Run(ctx context.Context, s *session) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	if c.Disabled {
		body["enabled"] = false
	}
	if c.Paused {
		body["paused"] = true
	}
	if err := secretInto(body, c.SigningSecret); err != nil {
		return err
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/webhooks", body)
}

type webhooksUpdate struct {
	target
	webhookSettings
	Clear []string `enum:"headers,auth,ca,retry,timeout,ed25519,rate_limit,envelope" placeholder:"SETTING,…" help:"Settings to clear: headers, auth, ca, retry, timeout, ed25519, rate_limit, envelope."`
	ID    string   `arg:""`
}

func (c *webhooksUpdate) Run(ctx context.Context, s *session) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	for _, name := range c.Clear {
		if _, set := body[name]; set {
			return fmt.Errorf("change a webhook: %s is both set and cleared", name)
		}
		body[name] = nil
	}
	return c.show(ctx, s, asTenant, http.MethodPatch, "/v1/webhooks/"+url.PathEscape(c.ID), body)
}

type webhooksEnable struct {
	target
	ID string `arg:""`
}

func (c *webhooksEnable) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := api.Do(ctx, http.MethodPatch, "/v1/webhooks/"+url.PathEscape(c.ID), nil, map[string]any{"enabled": true}, &answer); err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(answer)
	}
	if err := s.printObject(answer, "missed"); err != nil {
		return err
	}
	var got struct {
		Missed *struct {
			Deliveries int  `json:"deliveries"`
			Complete   bool `json:"complete"`
			Replay     struct {
				Since string `json:"since"`
				Until string `json:"until"`
			} `json:"replay"`
		} `json:"missed"`
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return fmt.Errorf("read the response: %w", err)
	}
	if m := got.Missed; m != nil {
		s.note(fmt.Sprintf("it missed %s events while it was disabled; to send them: fanmail replay --webhook %s --since %s --until %s",
			atLeast(m.Deliveries, !m.Complete), c.ID, m.Replay.Since, m.Replay.Until))
	}
	return nil
}

type webhooksDisable struct {
	target
	ID string `arg:""`
}

func (c *webhooksDisable) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPatch, "/v1/webhooks/"+url.PathEscape(c.ID), map[string]any{"enabled": false})
}

type webhooksPause struct {
	target
	ID string `arg:""`
}

func (c *webhooksPause) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPatch, "/v1/webhooks/"+url.PathEscape(c.ID), map[string]any{"paused": true})
}

type webhooksResume struct {
	target
	ID string `arg:""`
}

func (c *webhooksResume) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPatch, "/v1/webhooks/"+url.PathEscape(c.ID), map[string]any{"paused": false})
}

type webhooksDelete struct {
	target
	ID string `arg:""`
}

func (c *webhooksDelete) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodDelete, "/v1/webhooks/"+url.PathEscape(c.ID), nil)
}

type webhooksRotate struct {
	target
	SigningSecret *string `help:"A signing secret to bring along, or @FILE: 16 to 200 characters."`
	ID            string  `arg:""`
}

// secretInto adds a signing secret that is given to a request.
func secretInto(body map[string]any, given *string) error {
	if given == nil {
		return nil
	}
	text, err := textOrFile("--signing-secret", *given)
	body["signing_secret"] = text
	return err
}

func (c *webhooksRotate) Run(ctx context.Context, s *session) error {
	body := map[string]any{}
	if err := secretInto(body, c.SigningSecret); err != nil {
		return err
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/webhooks/"+url.PathEscape(c.ID)+"/rotate-secret", body)
}

type webhooksTest struct {
	target
	ID   string `arg:""`
	Type string `help:"A type that the webhook takes, such as email.received: its sample is sent."`
	Data string `help:"The event's data instead, a JSON object."`
}

func (c *webhooksTest) Run(ctx context.Context, s *session) error {
	body := map[string]any{}
	if c.Type != "" {
		body["type"] = c.Type
	}
	if c.Data != "" {
		if !json.Valid([]byte(c.Data)) {
			return errors.New("--data is not JSON")
		}
		body["data"] = json.RawMessage(c.Data)
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/webhooks/"+url.PathEscape(c.ID)+"/test", body)
}

type webhooksLane struct {
	reading
	ID string `arg:""`
}

func (c *webhooksLane) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, "/v1/webhooks/"+url.PathEscape(c.ID)+"/lane", nil)
}
