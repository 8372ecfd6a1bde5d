package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

type webhooksCmd struct {
	List    webhooksList    `cmd:"" help:"List webhooks." example:"fanmail webhooks list"`
	Get     webhooksGet     `cmd:"" help:"Show a webhook." example:"fanmail webhooks get wh_0f6200056df917f91703ed6603d47d0e"`
	Create  webhooksCreate  `cmd:"" help:"Create a webhook. Its signing secret is shown only now." example:"fanmail webhooks create --url https://example.com/hook --events email.received --description 'Orders'\nfanmail webhooks create --url https://example.com/hook --events '*' --max-in-flight 4 --ordering strict\nfanmail webhooks create --kind nats --url tls://broker.example.com --subject mail.in --events email.received"`
	Update  webhooksUpdate  `cmd:"" help:"Change a webhook." example:"fanmail webhooks update wh_0f6200056df917f91703ed6603d47d0e --rate-limit 20 --label invoices\nfanmail webhooks update wh_0f6200056df917f91703ed6603d47d0e --clear rate_limit,filters.labels"`
	Enable  webhooksEnable  `cmd:"" help:"Enable a webhook. Its pending deliveries start at once." example:"fanmail webhooks enable wh_0f6200056df917f91703ed6603d47d0e"`
	Disable webhooksDisable `cmd:"" help:"Disable a webhook. Its deliveries stay pending; it misses later events." example:"fanmail webhooks disable wh_0f6200056df917f91703ed6603d47d0e"`
	Pause   webhooksPause   `cmd:"" help:"Pause a webhook. Its deliveries wait, later events too." example:"fanmail webhooks pause wh_0f6200056df917f91703ed6603d47d0e"`
	Resume  webhooksResume  `cmd:"" help:"Resume a paused webhook. Its deliveries start at once." example:"fanmail webhooks resume wh_0f6200056df917f91703ed6603d47d0e"`
	Delete  webhooksDelete  `cmd:"" help:"Delete a webhook." example:"fanmail webhooks delete wh_0f6200056df917f91703ed6603d47d0e"`
	Rotate  webhooksRotate  `cmd:"" aliases:"rotate-secret" help:"Create a new signing secret. For 24 h, the old one signs too." example:"fanmail webhooks rotate wh_0f6200056df917f91703ed6603d47d0e"`
	Retry   webhooksRetry   `cmd:"" help:"Retry the failed deliveries of a window now." example:"fanmail webhooks retry wh_0f6200056df917f91703ed6603d47d0e --since 2h"`
	Test    webhooksTest    `cmd:"" help:"Send a test delivery." example:"fanmail webhooks test wh_0f6200056df917f91703ed6603d47d0e --type email.received"`
	Poll    webhooksPoll    `cmd:"" help:"Poll deliveries of a webhook of kind pull." example:"fanmail webhooks poll wh_0f6200056df917f91703ed6603d47d0e --wait 20 --ack"`
	Ack     webhooksAck     `cmd:"" help:"Acknowledge polled deliveries." example:"fanmail webhooks ack wh_0f6200056df917f91703ed6603d47d0e whd_01a22446a5913ddb9899b5e09cf4a077"`
	Lane    webhooksLane    `cmd:"" help:"Show a webhook's lane: owner, state, window, backlog." example:"fanmail webhooks lane wh_0f6200056df917f91703ed6603d47d0e"`
}

// webhookSettings are the fields of a webhook; nil means absent.
type webhookSettings struct {
	URL           *string  `help:"The URL to POST to, or that of a NATS broker."`
	Subject       *string  `help:"Where to publish at a NATS broker."`
	Events        []string `help:"Event types, patterns such as order.*, or *." predictor:"types"`
	Agents        []string `name:"agent" help:"Only events of these agents."`
	Conversations []string `name:"conversation" help:"Only events of these conversations."`
	Labels        []string `name:"label" help:"Only events with one of these labels."`
	FilterData    *string  `placeholder:"JSON" help:"Only events whose data meets these conditions by path, such as '{\"amount\": {\"gte\": 10}}', or @FILE."`
	Description   *string  `help:"The purpose of the webhook."`
	MaxInFlight   *int     `help:"Upper limit of attempts in flight, 1 to 4096."`
	RateLimit     *int     `help:"Maximum number of attempts a second."`
	Ordering      *string  `help:"Order of deliveries: none or strict." predictor:"ordering"`
	gatewayFlags
}

func (w *webhookSettings) body() (map[string]any, error) {
	b := map[string]any{}
	for name, v := range map[string]*string{"url": w.URL, "subject": w.Subject, "description": w.Description, "ordering": w.Ordering} {
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
	filters := map[string]any{}
	for name, v := range map[string][]string{"agent_ids": w.Agents, "conversation_ids": w.Conversations, "labels": w.Labels} {
		if len(v) > 0 {
			filters[name] = v
		}
	}
	if w.FilterData != nil {
		conditions, err := textOrFile("--filter-data", *w.FilterData)
		if err == nil && !json.Valid([]byte(conditions)) {
			err = errors.New("read --filter-data: it is not JSON")
		}
		if err != nil {
			return nil, err
		}
		filters["data"] = json.RawMessage(conditions)
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
		column{"ID", "id"}, column{"KIND", "kind"}, column{"URL", "url"}, column{"EVENTS", "events"}, column{"ENABLED", "enabled"}, column{"PAUSED", "paused"},
		column{"LAST DELIVERED", "last_delivered_at"}, column{"DESCRIPTION", "description"})
}

type webhooksGet struct {
	reading
	ID string `arg:"" of:"webhook"`
}

func (c *webhooksGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, "/v1/webhooks/"+url.PathEscape(c.ID), nil)
}

type webhooksCreate struct {
	target
	webhookSettings
	Kind          *string `placeholder:"push" help:"push: POST to --url. pull: no URL; consumers poll, see 'fanmail webhooks poll'. nats: publish on --subject at the broker --url." predictor:"kind"`
	Disabled      bool    `help:"Create the webhook disabled."`
	Paused        bool    `help:"Create the webhook paused."`
	SigningSecret *string `help:"A signing secret to bring along, or @FILE: 16 to 200 characters."`
}

func (c *webhooksCreate) Run(ctx context.Context, s *session) error {
	if len(c.Events) == 0 {
		return errors.New("--events is required: name event types, patterns such as order.*, or *")
	}
	body, err := c.body()
	if err != nil {
		return err
	}
	if c.Kind != nil {
		body["kind"] = *c.Kind
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
	Clear []string `enum:"filters, filters.agent_ids, filters.conversation_ids, filters.labels, filters.data, description, max_in_flight, rate_limit, ordering, paused, headers, auth, ca, retry, timeout, ed25519, envelope" placeholder:"SETTING,…" help:"Settings to clear: ${enum}."`
	ID    string   `arg:"" of:"webhook"`
}

// Run changes the settings that are given. Filters of other keys stay.
func (c *webhooksUpdate) Run(ctx context.Context, s *session, k *kong.Context) error {
	body, err := c.body()
	if err != nil {
		return err
	}
	path := "/v1/webhooks/" + url.PathEscape(c.ID)
	given, _ := body["filters"].(map[string]any)
	partly := slices.ContainsFunc(c.Clear, func(name string) bool { return strings.HasPrefix(name, "filters.") })
	if given != nil || partly {
		if body["filters"], err = c.filters(ctx, s, path, given); err != nil {
			return err
		}
	}
	return c.change(ctx, s, k, path, body, c.Clear)
}

// filters are the webhook's filters with those that are given: PATCH replaces all of them.
func (c *webhooksUpdate) filters(ctx context.Context, s *session, path string, given map[string]any) (map[string]any, error) {
	for name := range given {
		if slices.Contains(c.Clear, "filters."+name) {
			return nil, fmt.Errorf("filters.%s is both set and cleared", name)
		}
	}
	api, err := c.client(s, asTenant)
	if err != nil {
		return nil, err
	}
	var webhook struct {
		Filters map[string]any `json:"filters"`
	}
	if err := api.Do(ctx, http.MethodGet, path, nil, nil, &webhook); err != nil {
		return nil, err
	}
	all := map[string]any{}
	maps.Copy(all, webhook.Filters)
	maps.Copy(all, given)
	return all, nil
}

type webhooksEnable struct {
	target
	ID string `arg:"" of:"webhook"`
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
	ID string `arg:"" of:"webhook"`
}

func (c *webhooksDisable) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPatch, "/v1/webhooks/"+url.PathEscape(c.ID), map[string]any{"enabled": false})
}

type webhooksPause struct {
	target
	ID string `arg:"" of:"webhook"`
}

func (c *webhooksPause) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPatch, "/v1/webhooks/"+url.PathEscape(c.ID), map[string]any{"paused": true})
}

type webhooksResume struct {
	target
	ID string `arg:"" of:"webhook"`
}

func (c *webhooksResume) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodPatch, "/v1/webhooks/"+url.PathEscape(c.ID), map[string]any{"paused": false})
}

type webhooksDelete struct {
	target
	ID string `arg:"" of:"webhook"`
}

func (c *webhooksDelete) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodDelete, "/v1/webhooks/"+url.PathEscape(c.ID), nil)
}

type webhooksRotate struct {
	target
	SigningSecret *string `help:"A signing secret to bring along, or @FILE: 16 to 200 characters."`
	ID            string  `arg:"" of:"webhook"`
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
	ID   string `arg:"" of:"webhook"`
	Type string `help:"A type that the webhook takes, such as email.received: its sample is sent." predictor:"type"`
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
	ID string `arg:"" of:"webhook"`
}

func (c *webhooksLane) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, "/v1/webhooks/"+url.PathEscape(c.ID)+"/lane", nil)
}
