package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/subscribers/signature"
)

// pullBatch is how many deliveries one poll of a [puller] leases. They are handled one after the other.
const pullBatch = 10

// puller polls one webhook and handles what it gets.
type puller struct {
	name     string
	forward  string // "": nowhere
	settings webhookSettings
	answer   func(context.Context, *arrival) (status int, note string)
	s        *session
	api      *apiclient.Client

	webhook string
	signer  *signature.Signer
}

// run polls the webhook of kind pull with the name until ctx ends. It creates the webhook if there is none, and leaves it
// there.
func (p *puller) run(ctx context.Context) error {
	secret, err := listenSecret(p.s.dir)
	if err != nil {
		return err
	}
	if p.signer, err = listenSigner(p.s.dir, secret); err != nil {
		return err
	}
	state := "found"
	if p.webhook, err = p.find(ctx); err == nil && p.webhook == "" {
		state = "created"
		p.webhook, err = p.create(ctx)
	}
	if err != nil {
		return err
	}
	p.s.say("%s %s; it stays when this command stops, and keeps what comes meanwhile", state, p.webhook)
	if p.forward != "" {
		p.s.say("forwarding to %s; signing secret, the same at every start: %s", p.forward, secret)
	}
	return p.loop(ctx)
}

// description is that of the webhook: it has the name.
func (p *puller) description() string { return "fanmail listen --pull " + p.name }

// find returns the webhook of kind pull with the description; "" if there is none.
func (p *puller) find(ctx context.Context) (id string, err error) {
	query := url.Values{"limit": {"100"}}
	for {
		var page struct {
			Data []struct {
				ID, Kind, Description string
			} `json:"data"`
			NextCursor *string `json:"next_cursor"`
		}
		if err := p.api.Do(ctx, http.MethodGet, "/v1/webhooks", query, nil, &page); err != nil {
			return "", err
		}
		for _, w := range page.Data {
			if w.Kind == "pull" && w.Description == p.description() {
				return w.ID, nil
			}
		}
		if page.NextCursor == nil {
			return "", nil
		}
		query.Set("cursor", *page.NextCursor)
	}
}

func (p *puller) create(ctx context.Context) (id string, err error) {
	p.settings.Description = new(p.description())
	body, err := p.settings.body()
	if err != nil {
		return "", err
	}
	body["kind"] = "pull"
	var made struct {
		ID string `json:"id"`
	}
	if err := p.api.Do(ctx, http.MethodPost, "/v1/webhooks", nil, body, &made); err != nil {
		return "", fmt.Errorf("create the webhook: %w", err)
	}
	return made.ID, nil
}

// loop polls until ctx ends. It tries again while the API is unreachable.
func (p *puller) loop(ctx context.Context) error {
	flags := pollFlags{Limit: pullBatch, Wait: 20, Lease: 300}
	wait := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(250*time.Millisecond), backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
	for {
		list, _, err := flags.poll(ctx, p.api, p.webhook)
		if err == nil {
			err = p.handle(ctx, list)
		}
		var problem *apiclient.Problem
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			wait.Reset()
			continue
		case errors.As(err, &problem) && problem.Status < 500 && problem.Status != http.StatusTooManyRequests:
			return err
		}
		p.s.note("polling again: " + err.Error())
		if pause(ctx, wait.NextBackOff()) != nil {
			return nil
		}
	}
}

// handle takes deliveries one after the other, and acknowledges each. When ctx ends, it releases the rest.
func (p *puller) handle(ctx context.Context, list []polledDelivery) error {
	for i, d := range list {
		a := p.arrival(d)
		status, note := p.answer(ctx, a)
		if ctx.Err() != nil {
			return p.release(ctx, list[i:])
		}
		p.s.say("%s  %s  → %d%s", time.Now().Format(time.TimeOnly), a, status, note)
		body := map[string]any{"delivery_ids": []string{d.DeliveryID}}
		if status < 200 || status > 299 {
			body = map[string]any{"lease": d.Lease, "failed": []map[string]any{{"delivery_id": d.DeliveryID, "reason": fmt.Sprintf("answered %d%s", status, note)}}}
		}
		if err := ack(context.WithoutCancel(ctx), p.api, p.webhook, body, nil); err != nil {
			return fmt.Errorf("acknowledge %s: %w", d.DeliveryID, err)
		}
		if ctx.Err() != nil {
			return p.release(ctx, list[i+1:])
		}
	}
	return nil
}

// release gives deliveries back.
func (p *puller) release(ctx context.Context, list []polledDelivery) error {
	if len(list) == 0 {
		return nil
	}
	ids := make([]string, len(list))
	for i, d := range list {
		ids[i] = d.DeliveryID
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return ack(ctx, p.api, p.webhook, map[string]any{"lease": list[0].Lease, "released": ids}, nil)
}

// arrival is the delivery as the POST that it would have been.
func (p *puller) arrival(d polledDelivery) *arrival {
	h := http.Header{"Content-Type": {"application/json"}, "Fanmail-Attempt": {fmt.Sprint(d.Attempt)}, "Fanmail-Delivery-Id": {d.DeliveryID}}
	if env, err := events.DecodeEnvelope(d.Envelope); err == nil {
		p.signer.Sign(h, env.ID.String(), time.Now(), d.Envelope)
	}
	return parseArrival(h, d.Envelope)
}
