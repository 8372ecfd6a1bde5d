package console

import (
	"net/url"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

// overviewPage is the data of pages/overview.html.
type overviewPage struct {
	Stats struct {
		Events struct {
			Waiting     int        `json:"waiting"`
			WaitingMore bool       `json:"waiting_more"`
			Oldest      *time.Time `json:"oldest"`
		} `json:"events"`
		Total    apiclient.Counts `json:"total"`
		Webhooks []struct {
			WebhookID string `json:"webhook_id"`
			apiclient.Counts
		} `json:"webhooks"`
	}
	Activity struct {
		Total []bucket `json:"total"`
	}
	Webhooks list[webhookRow]
	Events   list[eventRow]
}

// Late is when the oldest delivery was due, if it waits for its turn.
func (p overviewPage) Late() *time.Time {
	if due := p.Stats.Total.OldestDue; due != nil && due.Before(time.Now()) {
		return due
	}
	return nil
}

// webhookRow is a webhook in a list.
type webhookRow struct {
	ID             string  `json:"id"`
	URL            string  `json:"url"`
	Description    *string `json:"description"`
	Enabled        bool    `json:"enabled"`
	DisabledReason *string `json:"disabled_reason"`
	// LastDeliveredAt is nil before the first success.
	LastDeliveredAt *time.Time `json:"last_delivered_at"`
}

// Name is its URL, or what it is called if it has none.
func (w webhookRow) Name() string {
	description := ""
	if w.Description != nil {
		description = *w.Description
	}
	return nameOf(w.URL, description, w.ID)
}

// trouble is a webhook that fails or is disabled.
type trouble struct {
	webhookRow
	apiclient.Counts
}

// Silent reports whether its deliveries wait and none has ever succeeded.
func (t trouble) Silent() bool {
	return t.Enabled && t.LastDeliveredAt == nil && t.Delivered == 0 && t.Waiting > 0
}

// Silent is how many webhooks of the page have never answered with a success: no rate counts them.
func (p overviewPage) Silent() (n int) {
	for _, t := range p.Troubles() {
		if t.Silent() {
			n++
		}
	}
	return n
}

// Retrying reports whether deliveries wait and more attempts of the last hour have failed than succeeded.
func (t trouble) Retrying() bool {
	return t.Enabled && t.Waiting > 0 && t.FailedAttempts() > t.Delivered
}

// Troubles are the webhooks of the page that are disabled, that have not answered yet, that answer mostly with failures, or
// of whose deliveries some have ended as failed.
func (p overviewPage) Troubles() []trouble {
	by := map[string]apiclient.Counts{}
	for _, w := range p.Stats.Webhooks {
		by[w.WebhookID] = w.Counts
	}
	var out []trouble
	for _, w := range p.Webhooks.Data {
		if t := (trouble{webhookRow: w, Counts: by[w.ID]}); !w.Enabled || t.Failed > 0 || t.Silent() || t.Retrying() {
			out = append(out, t)
		}
	}
	return out
}

func (s *server) overviewRoutes() { s.watch("/{$}", s.overview) }

func (s *server) overview(c *call) error {
	var p overviewPage
	err := together(
		func() error { return c.get("/v1/stats", url.Values{"window": {"1h"}}, &p.Stats) },
		func() error {
			return c.get("/v1/activity", url.Values{"window": {"1h"}, "waiting": {"false"}}, &p.Activity)
		},
		func() error { return c.get("/v1/webhooks", url.Values{"limit": {"100"}}, &p.Webhooks) },
		func() error { return c.get("/v1/events", url.Values{"limit": {"10"}, "mail": {"true"}}, &p.Events) },
	)
	if err != nil {
		return err
	}
	return c.page("overview", p)
}
