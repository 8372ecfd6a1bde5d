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

// statsWindows are the windows that a client may ask for.
var statsWindows = map[string]time.Duration{
	"5m": 5 * time.Minute, "15m": 15 * time.Minute, "1h": time.Hour, "6h": 6 * time.Hour, "24h": 24 * time.Hour,
}

// latency is the time from an event's creation to its recorded delivery.
type latency struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
}

// Counts are how deliveries have gone.
type Counts struct {
	Delivered   int        `json:"delivered"`
	Failed      int        `json:"failed"`
	Pending     int        `json:"pending" doc:"Of the window's events; waiting has those of any age."`
	Attempts    int        `json:"attempts" doc:"POSTs made for all of these."`
	SuccessRate *float64   `json:"success_rate" doc:"Delivered of delivered and failed, 0 to 1; null where none has ended."`
	Latency     *latency   `json:"latency" doc:"From the event's creation to its recorded delivery; null where nothing was delivered."`
	Complete    bool       `json:"complete" doc:"False where a webhook had more deliveries in the window than are looked at: the newest 1000 are."`
	Since       *time.Time `json:"since" doc:"The oldest delivery that was counted; null where there was none."`
	Waiting     int        `json:"waiting" doc:"Deliveries that are not finished, at most 5000 of a webhook."`
	WaitingMore bool       `json:"waiting_more" doc:"More than that wait."`
	OldestDue   *time.Time `json:"oldest_due" doc:"The earliest time at which a waiting delivery is due; in the past where it waits for its turn."`
}

// webhookCounts are those of one webhook.
type webhookCounts struct {
	WebhookID events.WebhookID `json:"webhook_id"`
	Counts
}

// stats is the answer of GET /v1/stats.
type stats struct {
	Window string `json:"window"`
	Events struct {
		Waiting     int        `json:"waiting" doc:"Events that are not fanned out yet, at most 10000."`
		WaitingMore bool       `json:"waiting_more"`
		Oldest      *time.Time `json:"oldest" doc:"When the oldest of them was made; null where none waits."`
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
	register(s, tenants, huma.Operation{
		OperationID: "get-stats", Method: http.MethodGet, Path: "/v1/stats", Summary: "Count deliveries, measure them, and see what waits",
		Description: "For the tenant and for each webhook: the events of the last `window` and what has become of them, and the backlog as it is now. Tests don't count.",
	}, func(ctx context.Context, in *struct {
		Window    string           `query:"window" enum:"5m,15m,1h,6h,24h" default:"1h"`
		WebhookID events.WebhookID `query:"webhook_id" doc:"This webhook alone."`
	},
	) (*body[stats], error) {
		total, list, err := s.store.Stats(ctx, tenant(ctx), in.WebhookID, statsWindows[in.Window])
		if err != nil {
			return nil, err
		}
		out := stats{Window: in.Window, Total: showStats(total), Webhooks: make([]webhookCounts, len(list))}
		for i, w := range list {
			out.Webhooks[i] = webhookCounts{WebhookID: w.WebhookID, Counts: showStats(w)}
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
