package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

// watching is what to watch of the events.
type watching struct {
	types  []string
	agents []string
	since  string
}

// remembered bounds the ids by which repetitions are known.
const remembered = 10_000

// watch calls took for each event, once, until ctx ends: where the stream
// breaks it goes on after the last one. began is called when the server
// watches, each time.
func watch(ctx context.Context, api *apiclient.Client, w watching, note func(string), began func(), took func(events.Envelope, []byte) error) error {
	query := url.Values{}
	for _, t := range w.types {
		query.Add("types", t)
	}
	for _, a := range w.agents {
		query.Add("agent_id", a)
	}
	if w.since != "" {
		if err := (&span{Since: w.since}).set(query); err != nil {
			return err
		}
	}
	seen, order := map[events.ID]struct{}{}, make([]events.ID, 0, remembered)
	after := ""
	wait := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(250*time.Millisecond), backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
	for {
		err := api.Tail(ctx, query, after, func() { wait.Reset(); began() }, func(t apiclient.Tailed) error {
			after = t.Place
			env, err := events.DecodeEnvelope(t.Envelope)
			if err != nil {
				note("an event can't be read: " + err.Error())
				return nil
			}
			if _, twice := seen[env.ID]; twice {
				return nil
			}
			if len(order) == remembered {
				delete(seen, order[0])
				order = order[1:]
			}
			seen[env.ID], order = struct{}{}, append(order, env.ID)
			return took(env, t.Envelope)
		})
		var p *apiclient.Problem
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &p) && p.Status != http.StatusServiceUnavailable && p.Status != http.StatusTooManyRequests:
			return err
		case errors.As(err, &p), errors.Is(err, apiclient.ErrTailEnded):
			note("the stream broke; connecting again: " + err.Error())
		default:
			return err // the API can't be reached, or took failed
		}
		if pause(ctx, wait.NextBackOff()) != nil {
			return nil
		}
	}
}

type eventsTail struct {
	target
	Types []string `name:"type" help:"Only these types."`
	Agent string   `help:"Only this agent's."`
	Since string   `placeholder:"TIME" help:"From then on, as far as the broker has it: RFC 3339, or how long ago, such as 10m. Defaults to now."`
}

// Run prints events as they are relayed, until ctx ends.
func (c *eventsTail) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	w := watching{types: c.Types, since: c.Since}
	if c.Agent != "" {
		w.agents = []string{c.Agent}
	}
	first := true
	return watch(ctx, api, w, s.note, func() {
		if first {
			s.note("watching; Ctrl-C ends it")
		}
		first = false
	}, func(env events.Envelope, raw []byte) error {
		if c.JSON {
			s.say("%s", raw)
			return nil
		}
		var data struct {
			AgentID string `json:"agent_id"`
			Subject string `json:"subject"`
		}
		_ = json.Unmarshal(env.Data, &data) // other shapes leave these empty
		line := fmt.Sprintf("%s  %s  %s", env.CreatedAt.Local().Format(time.TimeOnly), env.ID, s.paint(between, string(env.Type)))
		if data.Subject != "" {
			line += fmt.Sprintf("  %q", printable(data.Subject))
		}
		s.say("%s", line)
		return nil
	})
}
