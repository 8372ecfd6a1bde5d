package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// replayRow is a replay and its progress.
type replayRow struct {
	ID         string     `json:"id"`
	State      string     `json:"state"`
	Mode       string     `json:"mode"`
	Since      time.Time  `json:"since"`
	Until      time.Time  `json:"until"`
	WebhookID  *string    `json:"webhook_id"`
	Types      []string   `json:"types"`
	AgentIDs   []string   `json:"agent_ids"`
	Reading    bool       `json:"reading"`
	Matched    int64      `json:"matched"`
	Enqueued   int64      `json:"enqueued"`
	Waiting    int64      `json:"waiting"`
	Delivered  int64      `json:"delivered"`
	Failed     int64      `json:"failed"`
	CreatedAt  time.Time  `json:"created_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

// Ended counts the deliveries that have ended, All those that there are to be.
func (r replayRow) Ended() int64 { return r.Delivered + r.Failed }

// All counts the deliveries that the replay makes, as far as is known.
func (r replayRow) All() int64 { return max(1, r.Enqueued+r.Waiting) }

// Runs reports whether the replay can be cancelled.
func (r replayRow) Runs() bool { return r.State == "queued" || r.State == "running" }

// replayPreview is what a replay would send.
type replayPreview struct {
	Since      time.Time `json:"since"`
	Until      time.Time `json:"until"`
	Deliveries int       `json:"deliveries"`
	Events     int       `json:"events"`
	Complete   bool      `json:"complete"`
	Webhooks   []struct {
		WebhookID  string `json:"webhook_id"`
		URL        string `json:"url"`
		Deliveries int    `json:"deliveries"`
	} `json:"webhooks"`
}

// replayForm is the data of pages/replay-new.html.
type replayForm struct {
	Form    url.Values
	Faults  map[string]string
	Preview *replayPreview
	// Window is the window that the preview has counted, for the button that sends it: an empty until meant its now.
	Window url.Values
}

// Value is what a field holds.
func (f replayForm) Value(name string) string { return f.Form.Get(name) }

// Counted are the fields of the form with the window that was counted.
func (f replayForm) Counted() map[string]string {
	out := map[string]string{}
	for _, name := range []string{"webhook_id", "mode", "types", "agent_ids"} {
		out[name] = f.Value(name)
	}
	for name := range f.Window {
		out[name] = f.Window.Get(name)
	}
	return out
}

// body is the API's request.
func (f replayForm) body() map[string]any {
	b := map[string]any{"since": moment(f.Value("since")), "mode": f.Value("mode")}
	for _, name := range []string{"until", "webhook_id"} {
		if v := strings.TrimSpace(f.Value(name)); v != "" {
			b[name] = v
		}
	}
	if v, ok := b["until"].(string); ok {
		b["until"] = moment(v)
	}
	if types := strings.Fields(f.Value("types")); len(types) > 0 {
		b["types"] = types
	}
	if agents := lines(f.Value("agent_ids")); len(agents) > 0 {
		b["agent_ids"] = agents
	}
	return b
}

// moment is a time as the API takes it: a date, a date with minutes, and a duration back from now are completed.
func moment(text string) string {
	text = strings.TrimSpace(text)
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return time.Now().Add(-d).UTC().Format(time.RFC3339)
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.Format(time.RFC3339)
		}
	}
	return text
}

func (s *server) replayRoutes() {
	s.watch("/replays", s.replays)
	s.get("/replays/new", s.newReplay)
	s.post("/replays/new", s.createReplay)
	s.watch("/replays/{id}", s.replay)
	s.post("/replays/{id}/cancel", s.cancelReplay)
}

func (s *server) replays(c *call) error {
	var p list[replayRow]
	if err := c.get("/v1/replays", c.pick(), &p); err != nil {
		return err
	}
	return c.page("replays", p)
}

func (s *server) newReplay(c *call) error {
	q := c.query()
	f := replayForm{Form: url.Values{"since": {"24h"}, "mode": {"missed"}, "webhook_id": {q.Get("webhook_id")}}}
	if v := q.Get("since"); v != "" {
		f.Form.Set("since", v)
	}
	return c.page("replay-new", f)
}

// createReplay shows what the replay would send, and sends it where that was shown.
func (s *server) createReplay(c *call) error {
	f := replayForm{Form: c.form()}
	b := f.body()
	path, preview := "/v1/replays/preview", replayPreview{}
	var made replayRow
	var into any = &preview
	if f.Value("send") != "" {
		path, into = "/v1/replays", &made
	}
	if err := c.send(http.MethodPost, path, b, into); err != nil {
		if f.Faults = faults(err); f.Faults == nil {
			return err
		}
		c.status = refusal(err)
		return c.page("replay-new", f)
	}
	if made.ID != "" {
		return c.redirect("/replays/"+url.PathEscape(made.ID), "The replay has begun.")
	}
	f.Preview = &preview
	f.Window = url.Values{"since": {preview.Since.Format(time.RFC3339Nano)}, "until": {preview.Until.Format(time.RFC3339Nano)}}
	return c.page("replay-new", f)
}

func (s *server) replay(c *call) error {
	var p replayRow
	if err := c.get("/v1/replays/"+url.PathEscape(c.id("id")), nil, &p); err != nil {
		return err
	}
	return c.page("replay", p)
}

func (s *server) cancelReplay(c *call) error {
	id := url.PathEscape(c.id("id"))
	if err := c.send(http.MethodDelete, "/v1/replays/"+id, nil, nil); err != nil {
		return err
	}
	return c.redirect("/replays/"+id, "The replay is being cancelled.")
}
