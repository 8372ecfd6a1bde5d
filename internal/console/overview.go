package console

import (
	"net/url"
	"time"
)

// counts are the numbers of GET /v1/stats.
type counts struct {
	Delivered   int        `json:"delivered"`
	Failed      int        `json:"failed"`
	Pending     int        `json:"pending"`
	SuccessRate *float64   `json:"success_rate"`
	Complete    bool       `json:"complete"`
	Waiting     int        `json:"waiting"`
	WaitingMore bool       `json:"waiting_more"`
	OldestDue   *time.Time `json:"oldest_due"`
	Latency     *struct {
		P50 float64 `json:"p50_ms"`
		P95 float64 `json:"p95_ms"`
		P99 float64 `json:"p99_ms"`
	} `json:"latency"`
}

// overviewPage is the data of pages/overview.html.
type overviewPage struct {
	Stats struct {
		Events struct {
			Waiting     int        `json:"waiting"`
			WaitingMore bool       `json:"waiting_more"`
			Oldest      *time.Time `json:"oldest"`
		} `json:"events"`
		Total    counts `json:"total"`
		Webhooks []struct {
			WebhookID string `json:"webhook_id"`
			counts
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
}

// trouble is a webhook that fails or is disabled.
type trouble struct {
	webhookRow
	counts
}

// Troubles are the webhooks of the page that are disabled, or of whose deliveries some failed.
func (p overviewPage) Troubles() []trouble {
	by := map[string]counts{}
	for _, w := range p.Stats.Webhooks {
		by[w.WebhookID] = w.counts
	}
	var out []trouble
	for _, w := range p.Webhooks.Data {
		if c := by[w.ID]; !w.Enabled || c.Failed > 0 {
			out = append(out, trouble{webhookRow: w, counts: c})
		}
	}
	return out
}

func (s *server) overviewRoutes() { s.get("/{$}", s.overview) }

func (s *server) overview(c *call) error {
	var p overviewPage
	err := together(
		func() error { return c.get("/v1/stats", url.Values{"window": {"1h"}}, &p.Stats) },
		func() error { return c.get("/v1/activity", url.Values{"window": {"1h"}}, &p.Activity) },
		func() error { return c.get("/v1/webhooks", url.Values{"limit": {"100"}}, &p.Webhooks) },
		func() error { return c.get("/v1/events", url.Values{"limit": {"10"}, "mail": {"true"}}, &p.Events) },
	)
	if err != nil {
		return err
	}
	return c.page("overview", p)
}
