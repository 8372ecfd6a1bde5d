package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

type statsCmd struct {
	reading
	Window  string `default:"1h" enum:"5m,15m,1h,6h,24h" help:"The window: 5m, 15m, 1h, 6h or 24h."`
	Webhook string `help:"Only this webhook." of:"webhook"`
}

// counted is one line of GET /v1/stats.
type counted struct {
	WebhookID string `json:"webhook_id"`
	apiclient.Counts
}

// Run prints a line for each webhook and one for the total.
func (c *statsCmd) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := api.Do(ctx, http.MethodGet, "/v1/stats", queryOf("window", c.Window, "webhook_id", c.Webhook), nil, &answer); err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(answer)
	}
	var got struct {
		Events struct {
			Waiting     int  `json:"waiting"`
			WaitingMore bool `json:"waiting_more"`
		} `json:"events"`
		Total    counted   `json:"total"`
		Webhooks []counted `json:"webhooks"`
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return fmt.Errorf("read the stats: %w", err)
	}
	got.Total.WebhookID = "all"
	rows := make([]map[string]any, 0, len(got.Webhooks)+1)
	for _, w := range append(got.Webhooks, got.Total) {
		rows = append(rows, w.row(time.Now()))
	}
	if err := s.printTable(rows, []column{
		{"WEBHOOK", "webhook"},
		{"DELIVERED", "delivered"},
		{"FAILED", "failed"},
		{"PENDING", "pending"},
		{"SUCCESS", "success"},
		{"P50", "p50"},
		{"P95", "p95"},
		{"P99", "p99"},
		{"WAITING", "waiting"},
		{"OLDEST DUE", "due"},
	}); err != nil {
		return err
	}
	if got.Events.Waiting > 0 {
		s.say("%s events not fanned out yet", atLeast(got.Events.Waiting, got.Events.WaitingMore))
	}
	if !got.Total.Complete {
		s.say("* of the newest 1000 deliveries")
	}
	return nil
}

func (w *counted) row(now time.Time) map[string]any {
	row := map[string]any{
		"webhook": w.WebhookID, "delivered": json.Number(fmt.Sprint(w.Delivered)), "failed": json.Number(fmt.Sprint(w.Failed)),
		"pending": json.Number(fmt.Sprint(w.Pending)), "waiting": atLeast(w.Waiting, w.WaitingMore),
	}
	if !w.Complete {
		row["delivered"] = fmt.Sprintf("%d*", w.Delivered)
	}
	if w.SuccessRate != nil {
		row["success"] = fmt.Sprintf("%.1f%%", *w.SuccessRate*100)
	}
	if l := w.Latency; l != nil {
		for name, ms := range map[string]float64{"p50": l.P50, "p95": l.P95, "p99": l.P99} {
			row[name] = time.Duration(ms * float64(time.Millisecond)).Round(time.Millisecond).String()
		}
	}
	if w.OldestDue != nil {
		if late := now.Sub(*w.OldestDue).Round(time.Second); late > 0 {
			row["due"] = late.String() + " ago"
		} else {
			row["due"] = "in " + (-late).String()
		}
	}
	return row
}

func atLeast(n int, more bool) string {
	if more {
		return fmt.Sprintf("%d+", n)
	}
	return fmt.Sprint(n)
}
