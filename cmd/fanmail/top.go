package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

type topCmd struct {
	target
	By     string        `default:"tenant" enum:"tenant,webhook,agent" help:"What a row is: tenant, webhook or agent."`
	Order  string        `default:"rate" enum:"rate,failures,backlog,slots,bytes" help:"Sort by rate (events or attempts a second, whichever are more), failures, backlog, slots (attempts in flight) or bytes."`
	Window string        `default:"1m" enum:"1m,5m" help:"The time over which rates are means: 1m or 5m."`
	Limit  int           `default:"15" help:"Most rows, at most 100."`
	Every  time.Duration `default:"2s" help:"Time between two readings."`
	Once   bool          `help:"Print the table once, as where the output is no terminal."`
}

// leastEvery is the shortest time between two readings: an answer of the API is kept for a second.
const leastEvery = time.Second

// topAnswer is the answer of GET /v1/operator/top.
type topAnswer struct {
	Complete bool     `json:"complete"`
	Silent   []string `json:"silent"`
	Data     []topRow `json:"data"`
}

type topRow struct {
	ID         string  `json:"id"`
	TenantID   string  `json:"tenant_id"`
	TenantName string  `json:"tenant_name"`
	URL        string  `json:"url"`
	Events     float64 `json:"events_per_second"`
	Attempts   float64 `json:"attempts_per_second"`
	Failures   float64 `json:"failures_per_second"`
	Bytes      float64 `json:"bytes_per_second"`
	InFlight   int     `json:"in_flight"`
	Backlog    *struct {
		Pending int  `json:"pending"`
		More    bool `json:"more"`
	} `json:"backlog"`
}

// systemState is what the first lines show of GET /v1/operator/stats.
type systemState struct {
	Events      float64  `json:"events_per_second"`
	Attempts    float64  `json:"attempts_per_second"`
	SuccessRate *float64 `json:"success_rate"`
	Latency     *struct {
		P95 float64 `json:"p95_ms"`
	} `json:"latency"`
	Outbox struct {
		Waiting int  `json:"waiting"`
		More    bool `json:"more"`
	} `json:"outbox"`
	Backlog struct {
		Oldest float64 `json:"oldest_due_seconds"`
	} `json:"backlog"`
	Breakers struct {
		Open int `json:"open"`
	} `json:"breakers"`
	Alerts []struct {
		Name     string `json:"name"`
		Severity string `json:"severity"`
		Text     string `json:"text"`
	} `json:"alerts"`
}

// Run shows the table again and again on a terminal, and once elsewhere.
func (c *topCmd) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asOperator)
	if err != nil {
		return err
	}
	if c.Every < leastEvery {
		return fmt.Errorf("--every must be %s or more", leastEvery)
	}
	if _, live := terminal(s.out); c.Once || c.JSON || !live {
		return c.show(ctx, s, api, "")
	}
	for {
		if err := c.show(ctx, s, api, "\x1b[H\x1b[J"); err != nil {
			return err
		}
		if pause(ctx, c.Every) != nil {
			return nil
		}
	}
}

// show reads once and prints, after a sequence for the terminal.
func (c *topCmd) show(ctx context.Context, s *session, api *apiclient.Client, before string) error {
	var raw json.RawMessage
	query := queryOf("by", c.By, "order", c.Order, "window", c.Window, "limit", strconv.Itoa(c.Limit))
	if err := api.Do(ctx, http.MethodGet, "/v1/operator/top", query, nil, &raw); err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(raw)
	}
	var top topAnswer
	if err := json.Unmarshal(raw, &top); err != nil {
		return fmt.Errorf("decode who is most active: %w", err)
	}
	var state systemState
	if err := api.Do(ctx, http.MethodGet, "/v1/operator/stats", nil, nil, &state); err != nil {
		return err
	}
	_, _ = fmt.Fprint(s.out, before)
	state.print(s)
	if len(top.Data) == 0 {
		s.say("no %s was active in the last %s", c.By, c.Window)
	} else if err := c.table(s, &top); err != nil {
		return err
	}
	if !top.Complete {
		missing := "the broker is away, so no dispatcher was asked"
		if len(top.Silent) > 0 {
			missing = "without the figures of " + printable(strings.Join(top.Silent, ", ")) + ", which did not answer"
		}
		s.say("incomplete: %s", missing)
	}
	return nil
}

// print prints the state of the system on a line, and the alerts below it.
func (st *systemState) print(s *session) {
	success, lag := "-", "-"
	if st.SuccessRate != nil {
		success = fmt.Sprintf("%.1f%%", 100**st.SuccessRate)
	}
	if st.Latency != nil {
		lag = time.Duration(st.Latency.P95 * float64(time.Millisecond)).Round(time.Millisecond).String()
	}
	s.say("%s events/s  %s POSTs/s  %s ok  p95 %s  outbox %s  late %s  breakers %d", perSecond(st.Events), perSecond(st.Attempts), success, lag,
		atLeast(st.Outbox.Waiting, st.Outbox.More), time.Duration(st.Backlog.Oldest*float64(time.Second)).Round(time.Second), st.Breakers.Open)
	for _, a := range st.Alerts {
		colour := between
		if a.Severity == "critical" {
			colour = bad
		}
		s.say("%s %s: %s", s.paint(colour, a.Severity), printable(a.Name), printable(a.Text))
	}
	s.say("")
}

func (c *topCmd) table(s *session, top *topAnswer) error {
	columns, rows := c.cells(top)
	return s.printTable(rows, columns)
}

// cells are the table's columns and rows. An id has 36 characters, so that a row has room for few other columns in 80.
func (c *topCmd) cells(top *topAnswer) (columns []column, rows []map[string]any) {
	columns = []column{{strings.ToUpper(c.By), "id"}}
	switch c.By {
	case "webhook":
		columns = append(columns, column{"URL", "url"})
	default:
		columns = append(columns, column{"NAME", "name"}, column{"EV/S", "events"})
	}
	columns = append(columns, column{"POST/S", "attempts"}, column{"FAIL/S", "failures"})
	last := map[string]column{"slots": {"SLOTS", "slots"}, "bytes": {"BYTES/S", "bytes"}}[c.Order]
	if last == (column{}) {
		last = column{"BACKLOG", "backlog"}
	}
	columns = append(columns, last)
	if c.By == "agent" {
		columns[1].title = "TENANT"
	}
	rows = make([]map[string]any, len(top.Data))
	for i, r := range top.Data {
		rows[i] = map[string]any{
			"id": r.ID, "name": r.TenantName, "url": r.URL, "events": perSecond(r.Events), "attempts": perSecond(r.Attempts),
			"failures": perSecond(r.Failures), "slots": json.Number(strconv.Itoa(r.InFlight)), "bytes": perSecond(r.Bytes),
		}
		if r.Backlog != nil {
			rows[i]["backlog"] = atLeast(r.Backlog.Pending, r.Backlog.More)
		}
	}
	return columns, rows
}

// perSecond shows a rate in at most five characters.
func perSecond(n float64) string {
	switch {
	case n < 99.95:
		return fmt.Sprintf("%.1f", n)
	case n < 99_999.5:
		return fmt.Sprintf("%.0f", n)
	case n < 999_500:
		return fmt.Sprintf("%.0fk", n/1e3)
	}
	return fmt.Sprintf("%.0fM", n/1e6)
}
