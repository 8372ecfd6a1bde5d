package api

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/outbox"
	"github.com/fanmail-dev/fanmail/subscribers"
)

// statsWindows are the values of the parameter window.
var statsWindows = map[string]time.Duration{
	"5m": 5 * time.Minute, "15m": 15 * time.Minute, "1h": time.Hour, "6h": 6 * time.Hour, "24h": 24 * time.Hour,
}

// latency is the time from an event's creation to its recorded delivery, in
// milliseconds.
type latency struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
}

// Counts are the numbers of deliveries by result.
type Counts struct {
	Delivered   int        `json:"delivered"`
	Failed      int        `json:"failed"`
	Pending     int        `json:"pending" doc:"Pending deliveries of the window's events; waiting counts those of any age."`
	Attempts    int        `json:"attempts" doc:"Attempts of all these deliveries."`
	SuccessRate *float64   `json:"success_rate" doc:"delivered divided by delivered plus failed, 0 to 1; null if none has ended."`
	Latency     *latency   `json:"latency,omitempty" doc:"From the event's creation to its recorded delivery; absent if nothing was delivered."`
	Complete    bool       `json:"complete" doc:"False if a webhook had more than 1000 deliveries in the window: only the newest 1000 are counted."`
	Since       *time.Time `json:"since" doc:"The creation time of the oldest counted delivery; null if there is none."`
	Waiting     int        `json:"waiting" doc:"Unfinished deliveries of any age, at most 5000 for each webhook."`
	WaitingMore bool       `json:"waiting_more" doc:"There are more than that."`
	OldestDue   *time.Time `json:"oldest_due" doc:"The earliest due time of a waiting delivery. A past time means that the delivery waits for its turn."`
}

// webhookCounts are the counts of one webhook.
type webhookCounts struct {
	WebhookID events.WebhookID `json:"webhook_id"`
	Counts
}

// stats is the response of GET /v1/stats.
type stats struct {
	Window string `json:"window"`
	Events struct {
		Waiting     int        `json:"waiting" doc:"Events that are not fanned out yet, at most 10000."`
		WaitingMore bool       `json:"waiting_more"`
		Oldest      *time.Time `json:"oldest" doc:"The creation time of the oldest of them; null if there is none."`
	} `json:"events"`
	Total    Counts          `json:"total"`
	Webhooks []webhookCounts `json:"webhooks"`
}

func showStats(s subscribers.Stats) Counts {
	out := Counts{
		Delivered: s.Delivered, Failed: s.Failed, Pending: s.Pending, Attempts: s.Attempts, Complete: s.Complete,
		Waiting: s.Waiting, WaitingMore: s.WaitingMore, OldestDue: s.OldestDue,
	}
	if ended := s.Delivered + s.Failed; ended > 0 {
		rate := float64(s.Delivered) / float64(ended)
		out.SuccessRate = &rate
	}
	if s.P50 != nil && s.P95 != nil && s.P99 != nil {
		out.Latency = &latency{P50: ms(*s.P50), P95: ms(*s.P95), P99: ms(*s.P99)}
	}
	if !s.Since.IsZero() {
		out.Since = &s.Since
	}
	return out
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (s *server) statsRoutes() {
	register(s, tenants.orPortal(), huma.Operation{
		OperationID: "get-stats", Method: http.MethodGet, Path: "/v1/stats", Summary: "Read counts, latencies and the backlog of deliveries",
		Description: "For the tenant and for each webhook: the results of the deliveries of the last `window`, and the present backlog. Tests do not count.",
	}, func(ctx context.Context, in *struct {
		Window    string           `query:"window" enum:"5m,15m,1h,6h,24h" default:"1h"`
		WebhookID events.WebhookID `query:"webhook_id" doc:"Only this webhook."`
	},
	) (*body[stats], error) {
		if err := shown(ctx, in.WebhookID); err != nil {
			return nil, err
		}
		total, list, err := s.store.Stats(ctx, tenant(ctx), in.WebhookID, statsWindows[in.Window])
		if err != nil {
			return nil, err
		}
		out := stats{Window: in.Window, Total: showStats(total), Webhooks: make([]webhookCounts, len(list))}
		for i, w := range list {
			out.Webhooks[i] = webhookCounts{WebhookID: w.WebhookID, Counts: showStats(w)}
		}
		if caller(ctx).Portal() {
			return reply(out), nil // the events that wait are all of the tenant's
		}
		n, oldest, err := outbox.Waiting(ctx, s.pool, tenant(ctx))
		if err != nil {
			return nil, err
		}
		out.Events.Waiting, out.Events.WaitingMore = n, n == outbox.MaxWaiting
		if !oldest.IsZero() {
			out.Events.Oldest = &oldest
		}
		return reply(out), nil
	})
}
