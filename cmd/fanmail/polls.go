package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

// polledDelivery is a delivery in the response to a poll.
type polledDelivery struct {
	DeliveryID  string          `json:"delivery_id"`
	EventID     string          `json:"event_id"`
	Attempt     int             `json:"attempt"`
	LeasedUntil time.Time       `json:"leased_until"`
	Lease       string          `json:"lease"`
	Envelope    json.RawMessage `json:"envelope"`
}

// pollFlags are the parameters of a poll.
type pollFlags struct {
	Limit int `default:"100" help:"Maximum number of deliveries, from 1 to 100."`
	Wait  int `help:"How many seconds to wait for the first one, up to 30."`
	Lease int `default:"300" help:"For how many seconds other polls do not get them, up to 3600."`
}

// poll polls once. raw is the response as it came.
func (p *pollFlags) poll(ctx context.Context, api *apiclient.Client, webhook string) (list []polledDelivery, raw json.RawMessage, err error) {
	query := url.Values{"limit": {strconv.Itoa(p.Limit)}, "wait": {strconv.Itoa(p.Wait)}, "lease": {strconv.Itoa(p.Lease)}}
	if err := api.Do(ctx, http.MethodGet, "/v1/webhooks/"+url.PathEscape(webhook)+"/poll", query, nil, &raw); err != nil {
		return nil, nil, err
	}
	var answer struct {
		Data []polledDelivery `json:"data"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return nil, nil, fmt.Errorf("decode the deliveries: %w", err)
	}
	return answer.Data, raw, nil
}

type webhooksPoll struct {
	target
	pollFlags
	ID  string `arg:"" of:"webhook"`
	Ack bool   `help:"Acknowledge what was printed."`
}

func (c *webhooksPoll) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	list, raw, err := c.poll(ctx, api, c.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		err = s.printJSON(raw)
	} else {
		for _, d := range list {
			s.say("%s  attempt %d  until %s  lease %s  %s", d.DeliveryID, d.Attempt, d.LeasedUntil.Local().Format(time.TimeOnly), d.Lease, d.Envelope)
		}
	}
	if err != nil || !c.Ack || len(list) == 0 {
		return err
	}
	ids := make([]string, len(list))
	for i, d := range list {
		ids[i] = d.DeliveryID
	}
	return ack(ctx, api, c.ID, map[string]any{"delivery_ids": ids}, nil)
}

type webhooksAck struct {
	target
	ID       string   `arg:"" help:"The webhook." of:"webhook"`
	IDs      []string `arg:"" optional:"" name:"delivery" help:"Deliveries that were handled." of:"delivery"`
	Failed   []string `placeholder:"DELIVERY" help:"Deliveries that could not be handled. Each is an attempt." of:"delivery"`
	Reason   string   `help:"Why they could not."`
	Released []string `name:"release" placeholder:"DELIVERY" help:"Deliveries to give back: they are due again at once." of:"delivery"`
	Lease    string   `help:"The lease of the poll. --failed and --release need it."`
}

func (c *webhooksAck) Run(ctx context.Context, s *session) error {
	if len(c.IDs)+len(c.Failed)+len(c.Released) == 0 {
		return errors.New("name a delivery: as an argument, with --failed or with --release")
	}
	body := map[string]any{}
	if len(c.IDs) > 0 {
		body["delivery_ids"] = c.IDs
	}
	if len(c.Released) > 0 {
		body["released"] = c.Released
	}
	if c.Lease != "" {
		body["lease"] = c.Lease
	}
	failed := []map[string]any{}
	for _, id := range c.Failed {
		failed = append(failed, map[string]any{"delivery_id": id, "reason": c.Reason})
	}
	if len(failed) > 0 {
		body["failed"] = failed
	}
	return c.show(ctx, s, asTenant, http.MethodPost, "/v1/webhooks/"+url.PathEscape(c.ID)+"/ack", body)
}

// ack acknowledges deliveries of a webhook.
func ack(ctx context.Context, api *apiclient.Client, webhook string, body map[string]any, out any) error {
	return api.Do(ctx, http.MethodPost, "/v1/webhooks/"+url.PathEscape(webhook)+"/ack", nil, body, out)
}
