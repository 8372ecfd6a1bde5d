package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

type activityCmd struct {
	reading
	Window  string `default:"24h" enum:"1h,24h,7d,30d" help:"The window: 1h, 24h, 7d or 30d."`
	Webhook string `help:"Only this webhook." of:"webhook"`
}

// active is one webhook of GET /v1/activity.
type active struct {
	WebhookID   string           `json:"webhook_id"`
	SuccessRate *float64         `json:"success_rate"`
	Waiting     int              `json:"waiting"`
	WaitingMore bool             `json:"waiting_more"`
	NextDue     *time.Time       `json:"next_due"`
	Buckets     []activityBucket `json:"buckets"`
	Lane        *struct {
		State    string `json:"state"`
		Window   int    `json:"window"`
		InFlight int    `json:"in_flight"`
	} `json:"lane"`
}

type activityBucket struct {
	Delivered int  `json:"delivered"`
	Failed    int  `json:"failed"`
	Pending   int  `json:"pending"`
	Estimated bool `json:"estimated"`
}

// Run prints a line for each webhook.
func (c *activityCmd) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	var answer json.RawMessage
	if err := api.Do(ctx, http.MethodGet, "/v1/activity", queryOf("window", c.Window, "webhook_id", c.Webhook, "lanes", "true"), nil, &answer); err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(answer)
	}
	var got struct {
		Webhooks []active `json:"webhooks"`
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		return fmt.Errorf("read the activity: %w", err)
	}
	rows := make([]map[string]any, 0, len(got.Webhooks))
	for _, w := range got.Webhooks {
		rows = append(rows, w.row(time.Now()))
	}
	return s.printTable(rows, []column{
		{"WEBHOOK", "webhook"},
		{"LANE", "lane"},
		{"SUCCESS", "success"},
		{"DELIVERED", "delivered"},
		{"FAILED", "failed"},
		{"WAITING", "waiting"},
		{"NEXT DUE", "due"},
		{"DELIVERIES", "line"},
	})
}

func (w *active) row(now time.Time) map[string]any {
	delivered, failed, about := 0, 0, ""
	all := make([]int, len(w.Buckets))
	for i, b := range w.Buckets {
		delivered, failed, all[i] = delivered+b.Delivered, failed+b.Failed, b.Delivered+b.Failed+b.Pending
		if b.Estimated {
			about = "~"
		}
	}
	row := map[string]any{
		"webhook": w.WebhookID, "waiting": atLeast(w.Waiting, w.WaitingMore), "line": bars(all),
		"delivered": fmt.Sprintf("%s%d", about, delivered), "failed": fmt.Sprintf("%s%d", about, failed),
	}
	if w.SuccessRate != nil {
		row["success"] = fmt.Sprintf("%.1f%%", *w.SuccessRate*100)
	}
	if w.Lane != nil {
		row["lane"] = fmt.Sprintf("%s %d/%d", w.Lane.State, w.Lane.InFlight, w.Lane.Window)
	}
	if w.NextDue != nil {
		row["due"] = "now"
		if wait := w.NextDue.Sub(now).Round(time.Second); wait > 0 {
			row["due"] = "in " + wait.String()
		}
	}
	return row
}

// bars draws numbers as a line of blocks, scaled to the largest.
func bars(numbers []int) string {
	levels := []rune("▁▂▃▄▅▆▇█")
	most := 1
	for _, n := range numbers {
		most = max(most, n)
	}
	var b strings.Builder
	for _, n := range numbers {
		if n == 0 {
			b.WriteByte(' ')
			continue
		}
		b.WriteRune(levels[(n*(len(levels)-1)+most-1)/most])
	}
	return b.String()
}
