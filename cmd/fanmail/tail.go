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

// watching selects the events to watch.
type watching struct {
	types  []string
	agents []string
	since  string
}

// maxSeen bounds the event ids in memory, which detect duplicates.
const maxSeen = 10_000

// watch calls took once for each event until ctx ends. If the stream breaks, it
// connects again and continues after the last event. It calls began at the start
// of each stream.
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
	seen, order := map[events.ID]struct{}{}, make([]events.ID, 0, maxSeen)
	after := ""
	wait := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(250*time.Millisecond), backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
	for {
		err := api.Tail(ctx, query, after, func() { wait.Reset(); began() }, func(t apiclient.Tailed) error {
			after = t.Place
			env, err := events.DecodeEnvelope(t.Envelope)
			if err != nil {
				note("skip an event: " + err.Error())
				return nil
			}
			if _, duplicate := seen[env.ID]; duplicate {
				return nil
			}
			if len(order) == maxSeen {
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
			return err // the API is unreachable, or took failed
		}
		if pause(ctx, wait.NextBackOff()) != nil {
			return nil
		}
	}
}

type eventsTail struct {
	reading
	Types []string `name:"type" help:"Only events of these types." predictor:"type"`
	Agent string   `help:"Only events of this agent."`
	Since string   `placeholder:"TIME" help:"Start with the events of this time that the broker still has: RFC 3339, or how long ago, such as 10m. Defaults to now."`
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
			s.note("watching; Ctrl-C stops")
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
		_ = json.Unmarshal(env.Data, &data) // data of other types leaves the fields empty
		line := fmt.Sprintf("%s  %s  %s", env.CreatedAt.Local().Format(time.TimeOnly), env.ID, s.paint(between, string(env.Type)))
		if data.Subject != "" {
			line += fmt.Sprintf("  %q", printable(data.Subject))
		}
		s.say("%s", line)
		return nil
	})
}
