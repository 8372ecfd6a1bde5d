package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

type eventsGet struct {
	reading
	ID string `arg:"" of:"event"`
}

func (c *eventsGet) Run(ctx context.Context, s *session) error {
	path := "/v1/events/" + url.PathEscape(c.ID)
	if c.JSON {
		return c.show(ctx, s, asTenant, http.MethodGet, path, nil)
	}
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := api.Do(ctx, http.MethodGet, path, nil, nil, &answer); err != nil {
		return err
	}
	if err := s.printObject(answer, "deliveries"); err != nil {
		return err
	}
	var event struct {
		Deliveries []map[string]any `json:"deliveries"`
	}
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&event); err != nil {
		return fmt.Errorf("decode the event's deliveries: %w", err)
	}
	if len(event.Deliveries) > 0 {
		s.say("")
		if err := s.printTable(event.Deliveries, []column{
			{"DELIVERY", "id"},
			{"STATUS", "status"},
			{"CODE", "last_status_code"},
			{"ERROR", "last_error"},
			{"ATTEMPTS", "attempts"},
			{"NEXT", "next_retry_at"},
			{"WEBHOOK", "webhook_id"},
		}); err != nil {
			return err
		}
	}
	return c.explain(ctx, s, api, path)
}

// explain prints the webhooks that did not get the event, and why.
func (c *eventsGet) explain(ctx context.Context, s *session, api *apiclient.Client, path string) error {
	var matches struct {
		Data       []map[string]any `json:"data"`
		NextCursor *string          `json:"next_cursor"`
	}
	if err := api.Do(ctx, http.MethodGet, path+"/matches", url.Values{"limit": {"100"}}, nil, &matches); err != nil {
		return err
	}
	s.say("")
	if len(matches.Data) == 0 {
		s.say("No deliveries: there is no webhook. Create one with fanmail webhooks create.")
		return nil
	}
	others := slices.DeleteFunc(matches.Data, func(m map[string]any) bool { return m["fanned_out"] == true })
	if len(others) == 0 {
		return nil
	}
	if err := s.printTable(others, []column{{"NOT SENT TO", "webhook_id"}, {"REASON", "reason"}, {"WHY", "text"}}); err != nil {
		return err
	}
	if matches.NextCursor != nil {
		s.say("There are more webhooks: GET %s/matches has all of them.", path)
	}
	return nil
}
