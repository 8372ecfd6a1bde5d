package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

type eventsGet struct {
	target
	ID string `arg:""`
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
	s.say("")
	if len(event.Deliveries) == 0 {
		s.say("No deliveries: no enabled webhook matched the event, or it is not fanned out yet.")
		return nil
	}
	return s.printTable(event.Deliveries, []column{
		{"DELIVERY", "id"},
		{"WEBHOOK", "webhook_id"},
		{"STATUS", "status"},
		{"ATTEMPTS", "attempts"},
		{"CODE", "last_status_code"},
		{"ERROR", "last_error"},
		{"NEXT", "next_retry_at"},
	})
}
