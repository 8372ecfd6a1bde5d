package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

type replayCmd struct {
	Start  replayStart  `cmd:"" default:"withargs" help:"Replay the events of a window, and wait for the end." example:"fanmail replay --since 2h --dry-run\nfanmail replay --since 2026-03-01T08:00:00Z --until 2026-03-01T12:00:00Z --webhook wh_0f6200056df917f91703ed6603d47d0e --mode all"`
	List   replayList   `cmd:"" help:"List replays, newest first." example:"fanmail replay list"`
	Get    replayGet    `cmd:"" help:"Show a replay and its progress." example:"fanmail replay get rpl_01a22446a59f4c3d8b2e6f7a8c9d0e1f"`
	Watch  replayWatch  `cmd:"" help:"Wait for the end of a running replay." example:"fanmail replay watch rpl_01a22446a59f4c3d8b2e6f7a8c9d0e1f"`
	Cancel replayCancel `cmd:"" help:"Cancel a replay." example:"fanmail replay cancel rpl_01a22446a59f4c3d8b2e6f7a8c9d0e1f"`
}

type replayStart struct {
	target
	span
	Webhook string   `help:"Replay to this webhook only. Defaults to all enabled webhooks." of:"webhook"`
	Types   []string `name:"type" help:"Only events of these types, or of patterns such as order.*." predictor:"type"`
	Agents  []string `name:"agent" help:"Only events of these agents."`
	Mode    string   `default:"missed" enum:"missed,all" help:"missed: matching events without a successful delivery. all: all matching events."`
	DryRun  bool     `help:"Count what would be sent, and send nothing."`
	Yes     bool     `short:"y" help:"Do not ask before a replay to more than one webhook."`
	Detach  bool     `help:"Do not wait for the end."`
}

func (c *replayStart) Run(ctx context.Context, s *session) error {
	if c.Since == "" {
		return errors.New("--since is required: " + timeFormats)
	}
	window := url.Values{}
	if err := c.set(window); err != nil {
		return err
	}
	body := map[string]any{"mode": c.Mode}
	for name := range window {
		body[name] = window.Get(name)
	}
	if c.Webhook != "" {
		body["webhook_id"] = c.Webhook
	}
	if len(c.Types) > 0 {
		body["types"] = c.Types
	}
	if len(c.Agents) > 0 {
		body["agent_ids"] = c.Agents
	}
	if c.DryRun && c.JSON {
		return c.show(ctx, s, asTenant, http.MethodPost, "/v1/replays/preview", body)
	}
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	if c.DryRun || c.Webhook == "" && !c.Yes {
		if goOn, err := c.preview(ctx, s, api, body); err != nil || !goOn {
			return err
		}
	}
	if c.Detach {
		return c.show(ctx, s, asTenant, http.MethodPost, "/v1/replays", body)
	}
	var made replayState
	if err := api.Do(ctx, http.MethodPost, "/v1/replays", nil, body, &made); err != nil {
		return err
	}
	return c.watch(ctx, s, api, made.ID)
}

// replayPreview is what a replay would send, as the API returns it.
type replayPreview struct {
	Deliveries int  `json:"deliveries"`
	Complete   bool `json:"complete"`
	Webhooks   []struct {
		ID         string `json:"webhook_id"`
		URL        string `json:"url"`
		Deliveries int    `json:"deliveries"`
	} `json:"webhooks"`
}

// preview counts what the replay would send. It shows the counts where this is all that is asked for, or where the
// replay goes to more than one webhook. Then it asks whether to send.
func (c *replayStart) preview(ctx context.Context, s *session, api *apiclient.Client, body map[string]any) (goOn bool, err error) {
	var p replayPreview
	if err := api.Do(ctx, http.MethodPost, "/v1/replays/preview", nil, body, &p); err != nil {
		return false, err
	}
	if !c.DryRun && len(p.Webhooks) < 2 && p.Complete {
		return true, nil
	}
	least := ""
	if !p.Complete {
		least = "at least "
	}
	say := s.say
	if !c.DryRun {
		say = func(format string, args ...any) { s.note(fmt.Sprintf(format, args...)) }
	}
	for _, w := range p.Webhooks {
		say("%s%d to %s %s", least, w.Deliveries, w.ID, printable(cmp.Or(w.URL, "(kind pull)")))
	}
	say("%s%d deliveries to %d webhooks", least, p.Deliveries, len(p.Webhooks))
	if c.DryRun {
		return false, nil
	}
	return true, s.confirm("send them")
}

type replayList struct {
	reading
	page
}

func (c *replayList) Run(ctx context.Context, s *session) error {
	return c.list(ctx, s, asTenant, "/v1/replays", c.page, nil,
		column{"ID", "id"}, column{"STATE", "state"}, column{"MODE", "mode"}, column{"DELIVERED", "delivered"}, column{"FAILED", "failed"},
		column{"MATCHED", "matched"}, column{"ENQUEUED", "enqueued"}, column{"SINCE", "since"}, column{"UNTIL", "until"}, column{"WEBHOOK", "webhook_id"})
}

type replayGet struct {
	reading
	ID string `arg:"" of:"replay"`
}

func (c *replayGet) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodGet, replayURL(c.ID), nil)
}

type replayWatch struct {
	reading
	ID string `arg:"" of:"replay"`
}

func (c *replayWatch) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	return c.watch(ctx, s, api, c.ID)
}

type replayCancel struct {
	target
	ID string `arg:"" of:"replay"`
}

func (c *replayCancel) Run(ctx context.Context, s *session) error {
	return c.show(ctx, s, asTenant, http.MethodDelete, replayURL(c.ID), nil)
}

func replayURL(id string) string { return "/v1/replays/" + url.PathEscape(id) }

// replayState is the progress of a replay, as the API returns it.
type replayState struct {
	ID        string `json:"id"`
	State     string `json:"state"`
	Reading   bool   `json:"reading"`
	Matched   int64  `json:"matched"`
	Enqueued  int64  `json:"enqueued"`
	Waiting   int64  `json:"waiting"`
	Delivered int64  `json:"delivered"`
	Failed    int64  `json:"failed"`
}

func (r *replayState) ended() bool { return r.State == "completed" || r.State == "cancelled" }

func (r *replayState) describe() string {
	doing := "sending"
	if r.Reading {
		doing = "reading events"
	}
	return fmt.Sprintf("%s · matched %d · failed %d", doing, r.Matched, r.Failed)
}

// The progress is polled every pollEvery. maxPollFailures in a row, which are
// about 30 seconds, end the command.
const (
	pollEvery       = 300 * time.Millisecond
	maxPollFailures = 100
)

// watch shows the progress of a replay until it ends, then prints the replay. A
// cancelled replay and a failed delivery are errors.
func (t *target) watch(ctx context.Context, s *session, api *apiclient.Client, id string) error {
	bar := s.progress(1, "replay")
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	var r replayState
	failures := 0
	for {
		err := api.Do(ctx, http.MethodGet, replayURL(id), nil, nil, &r)
		var refused *apiclient.Problem
		if ctx.Err() != nil {
			return fmt.Errorf("stopped watching %s, which still runs: use `fanmail replay watch %s` or `fanmail replay cancel %s`", id, id, id)
		}
		if err != nil {
			// The replay runs without this command: wait while the API is unavailable.
			if failures++; errors.As(err, &refused) && refused.Status < 500 || failures > maxPollFailures {
				return fmt.Errorf("watch %s: %w", id, err)
			}
		} else {
			failures = 0
			bar.set(r.describe(), r.Delivered+r.Failed, r.Enqueued+r.Waiting)
		}
		if r.ended() {
			break
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	bar.finish()
	if err := t.show(ctx, s, asTenant, http.MethodGet, replayURL(id), nil); err != nil {
		return err
	}
	switch {
	case r.State == "cancelled":
		return fmt.Errorf("%s was cancelled", id)
	case r.Failed > 0:
		return fmt.Errorf("%d deliveries of %s failed", r.Failed, id)
	}
	return nil
}

type webhooksRetry struct {
	target
	span
	ID   string `arg:"" of:"webhook"`
	Type string `help:"Only deliveries of events of this type." predictor:"type"`
}

func (c *webhooksRetry) Run(ctx context.Context, s *session) error {
	if c.Since == "" {
		return errors.New("--since is required: " + timeFormats)
	}
	window := url.Values{}
	if err := c.set(window); err != nil {
		return err
	}
	body := map[string]any{}
	for name := range window {
		body[name] = window.Get(name)
	}
	if c.Type != "" {
		body["event_type"] = c.Type
	}
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	retried := 0
	for {
		var answer struct {
			Retried    int     `json:"retried"`
			NextCursor *string `json:"next_cursor"`
		}
		if err := api.Do(ctx, http.MethodPost, "/v1/webhooks/"+url.PathEscape(c.ID)+"/retry", nil, body, &answer); err != nil {
			return fmt.Errorf("after %d deliveries: %w", retried, err)
		}
		retried += answer.Retried
		if answer.NextCursor == nil {
			break
		}
		body["cursor"] = *answer.NextCursor
	}
	if c.JSON {
		s.say(`{"retried":%d}`, retried)
		return nil
	}
	s.say("%d deliveries are pending again", retried)
	return nil
}
