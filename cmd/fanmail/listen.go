package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

type listenCmd struct {
	target
	Forward  string        `placeholder:"URL" help:"Tail events over the API and POST each one to this URL, signed. Works behind a firewall."`
	Pull     string        `placeholder:"NAME" help:"Poll a webhook of kind pull with this name, which is created and kept: nothing is missed while this command is not running. With --forward, an event counts as delivered when the URL has answered 2xx."`
	Events   []string      `help:"Event types, and patterns such as order.*. Defaults to all." predictor:"types"`
	Agents   []string      `name:"agent" help:"Only events of these agents."`
	FailRate float64       `placeholder:"N" help:"Answer 500 to this percentage of the POSTs, from 0 to 100."`
	Delay    time.Duration `help:"Wait this long before each answer."`
	Verbose  bool          `short:"v" help:"Print the headers and the body of each POST too."`
	Addr     string        `default:"127.0.0.1:0" help:"Address to listen on. Port 0 selects a free port."`
}

// Run receives webhooks until ctx ends, then deletes its webhook.
func (c *listenCmd) Run(ctx context.Context, s *session) error {
	if c.FailRate < 0 || c.FailRate > 100 {
		return fmt.Errorf("--fail-rate is %v; it must be a percentage from 0 to 100", c.FailRate)
	}
	if u, err := url.Parse(c.Forward); c.Forward != "" && (err != nil || u.Host == "") {
		return fmt.Errorf("--forward is %q; it must be a URL, such as http://127.0.0.1:3000/hook", c.Forward)
	}
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	if c.Pull != "" {
		p := &puller{name: c.Pull, forward: c.Forward, settings: c.settings(), answer: c.answer, s: s, api: api}
		return p.run(ctx)
	}
	if c.Forward != "" {
		return c.tunnel(ctx, s, api)
	}
	r, err := newReceiver(ctx, c.Addr, func(ctx context.Context, a *arrival) int {
		status, note := c.answer(ctx, a)
		c.print(s, a, status, note)
		return status
	})
	if err != nil {
		return err
	}
	return receive(ctx, api, r, c.settings(), func() {
		s.say("listening on %s; Ctrl-C stops and deletes the webhook", r.URL)
	})
}

// print prints what arrived on a line, and all of it below with --verbose.
func (c *listenCmd) print(s *session, a *arrival, status int, note string) {
	text := fmt.Sprintf("%s  %s  → %d%s", time.Now().Format(time.TimeOnly), a, status, note)
	if c.Verbose {
		text += "\n" + a.whole()
	}
	s.say("%s", text)
}

func (c *listenCmd) settings() webhookSettings {
	w := webhookSettings{Events: c.Events, Agents: c.Agents, Description: new("fanmail listen")}
	if len(w.Events) == 0 {
		w.Events = []string{string(events.EveryType)}
	}
	return w
}

func (c *listenCmd) answer(ctx context.Context, a *arrival) (status int, note string) {
	if pause(ctx, c.Delay) != nil {
		return http.StatusServiceUnavailable, " (stopping)"
	}
	switch {
	case a.Fault != nil:
		return http.StatusUnauthorized, ""
	case rand.Float64()*100 < c.FailRate:
		return http.StatusInternalServerError, " (--fail-rate)"
	case c.Forward == "":
		return http.StatusOK, ""
	}
	status, err := forward(ctx, c.Forward, a)
	if err != nil {
		return http.StatusBadGateway, " (" + err.Error() + ")"
	}
	if status == http.StatusUnauthorized {
		return status, " (forwarded; the server must verify with the signing secret that is printed above)"
	}
	return status, " (forwarded)"
}

// tunnel tails events over the API, so that this machine needs no open port. It
// POSTs each event to c.Forward like a webhook, signed with the secret of
// [listenSecret]. It does not retry.
func (c *listenCmd) tunnel(ctx context.Context, s *session, api *apiclient.Client) error {
	secret, err := listenSecret(s.dir)
	if err != nil {
		return err
	}
	signer, err := listenSigner(s.dir, secret)
	if err != nil {
		return err
	}
	first := true
	return watch(ctx, api, watching{types: c.Events, agents: c.Agents}, s.note, func() {
		if first {
			s.say("listening on the events of %s, forwarding to %s; Ctrl-C stops", api.Base, c.Forward)
			s.say("signing secret, the same at every start: %s", secret)
		}
		first = false
	}, func(env events.Envelope, raw []byte) error {
		h := http.Header{"Content-Type": {"application/json"}, "Fanmail-Attempt": {"1"}}
		h.Set("Fanmail-Delivery-Id", events.DeriveDeliveryID(env.ID, events.WebhookID{}, events.ReplayID{}, env.CreatedAt).String())
		signer.Sign(h, env.ID.String(), time.Now(), raw)
		a := parseArrival(h, raw)
		status, note := c.answer(ctx, a)
		c.print(s, a, status, note)
		return nil
	})
}

// receive creates a webhook to r, calls ready and serves until ctx ends. Then it
// deletes the webhook.
func receive(ctx context.Context, api *apiclient.Client, r *receiver, w webhookSettings, ready func()) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.run(ctx) })
	group.Go(func() error {
		w.URL = &r.URL
		var made struct {
			ID            string `json:"id"`
			SigningSecret string `json:"signing_secret"`
		}
		settings, err := w.body()
		if err != nil {
			return err
		}
		if err := api.Do(ctx, http.MethodPost, "/v1/webhooks", nil, settings, &made); err != nil {
			return fmt.Errorf("create the webhook: %w", err)
		}
		r.setSecret(made.SigningSecret)
		ready()
		<-ctx.Done()
		return deleteWebhook(context.WithoutCancel(ctx), api, made.ID)
	})
	return group.Wait()
}

func deleteWebhook(ctx context.Context, api *apiclient.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := api.Do(ctx, http.MethodDelete, "/v1/webhooks/"+url.PathEscape(id), nil, nil, nil)
	var p *apiclient.Problem
	if errors.As(err, &p) && p.Status == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete the webhook %s: %w", id, err)
	}
	return nil
}
