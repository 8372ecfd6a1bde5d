package console

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// webhookOf is a webhook.
type webhookOf struct {
	ID              string     `json:"id"`
	Kind            string     `json:"kind"`
	URL             string     `json:"url"`
	Subject         *string    `json:"subject"`
	Description     string     `json:"description"`
	Events          []string   `json:"events"`
	Filters         filterOf   `json:"filters"`
	Enabled         bool       `json:"enabled"`
	Paused          bool       `json:"paused"`
	PausedAt        *time.Time `json:"paused_at"`
	MaxInFlight     int        `json:"max_in_flight"`
	RateLimit       *int       `json:"rate_limit"`
	Ordering        string     `json:"ordering"`
	Timeout         *int       `json:"timeout"`
	CreatedAt       time.Time  `json:"created_at"`
	LastDeliveredAt *time.Time `json:"last_delivered_at"`
	LastPolledAt    *time.Time `json:"last_polled_at"`
	DisabledReason  *string    `json:"disabled_reason"`

	Headers       map[string]string `json:"headers"` // the values are ***
	Auth          *authOf           `json:"auth"`
	CA            *string           `json:"ca"`
	Retry         *retryOf          `json:"retry"`
	Ed25519       bool              `json:"ed25519"`
	PublicKey     *string           `json:"public_key"`
	Envelope      *string           `json:"envelope"`
	EnvelopeUntil *time.Time        `json:"envelope_until"`
}

// authOf are credentials without their secrets.
type authOf struct {
	Type        string   `json:"type"`
	Username    string   `json:"username"`
	TokenURL    string   `json:"token_url"`
	ClientID    string   `json:"client_id"`
	Scopes      []string `json:"scopes"`
	Certificate string   `json:"certificate"`
}

// retryOf is a retry policy. Numbers stay as the API writes them.
type retryOf struct {
	Type     string      `json:"type"`
	Delays   []string    `json:"delays"`
	Initial  string      `json:"initial"`
	Factor   json.Number `json:"factor"`
	Max      string      `json:"max"`
	Attempts json.Number `json:"attempts"`
	Jitter   json.Number `json:"jitter"`
	Final    []int       `json:"final"`
}

// envelope is the form of the envelope; empty for Fanmail's own.
func (w *webhookOf) envelope() string {
	if w.Envelope == nil {
		return ""
	}
	return *w.Envelope
}

// envelopeUntil is the end of that form as the API takes it; empty for none.
func (w *webhookOf) envelopeUntil() string {
	if w.EnvelopeUntil == nil {
		return ""
	}
	return w.EnvelopeUntil.UTC().Format(time.RFC3339)
}

type filterOf struct {
	AgentIDs        []string     `json:"agent_ids"`
	ConversationIDs []string     `json:"conversation_ids"`
	Labels          []string     `json:"labels"`
	Data            conditionsOf `json:"data"`
}

// conditionsOf is a filter on data, as JSON; empty for none.
type conditionsOf json.RawMessage

// UnmarshalJSON keeps the JSON.
func (d *conditionsOf) UnmarshalJSON(b []byte) error {
	*d = append((*d)[:0], b...)
	return nil
}

// Conditions are the conditions, each as JSON.
func (d conditionsOf) Conditions() (out []string) {
	var all map[string]json.RawMessage
	_ = json.Unmarshal(d, &all) // empty, or as the API has checked it
	for _, path := range slices.Sorted(maps.Keys(all)) {
		name, _ := json.Marshal(path)
		out = append(out, string(name)+": "+string(all[path]))
	}
	return out
}

// lines are the JSON with a condition on each line.
func (d conditionsOf) lines() []string {
	all := d.Conditions()
	if len(all) == 0 {
		return nil
	}
	return []string{"{", "  " + strings.Join(all, ",\n  "), "}"}
}

// Pull reports whether consumers poll its deliveries.
func (w webhookOf) Pull() bool { return w.Kind == "pull" }

// NATS reports whether Fanmail publishes its deliveries at a broker.
func (w webhookOf) NATS() bool { return w.Kind == "nats" }

// subject is where they are published; empty for none.
func (w *webhookOf) subject() string {
	if w.Subject == nil {
		return ""
	}
	return *w.Subject
}

// Name is its URL, or what it is called if it has none.
func (w webhookOf) Name() string { return nameOf(w.URL, w.Description, w.ID) }

// nameOf names a webhook, which has no URL if it is polled.
func nameOf(url, description, id string) string { return cmp.Or(url, description, id) }

// State is one word for what the webhook does.
func (w webhookOf) State() string {
	switch {
	case !w.Enabled:
		return "disabled"
	case w.Paused:
		return "paused"
	}
	return "enabled"
}

// health is the activity of a webhook.
type health struct {
	WebhookID   string     `json:"webhook_id"`
	SuccessRate *float64   `json:"success_rate"`
	Waiting     int        `json:"waiting"`
	WaitingMore bool       `json:"waiting_more"`
	NextDue     *time.Time `json:"next_due"`
	Lane        *struct {
		State      string     `json:"state"`
		Window     int        `json:"window"`
		InFlight   int        `json:"in_flight"`
		RestsUntil *time.Time `json:"rests_until"`
	} `json:"lane"`
	Buckets []struct {
		Delivered int  `json:"delivered"`
		Failed    int  `json:"failed"`
		Pending   int  `json:"pending"`
		Estimated bool `json:"estimated"`
	} `json:"buckets"`
}

// Line are the deliveries of each bucket.
func (h health) Line() []int {
	out := make([]int, len(h.Buckets))
	for i, b := range h.Buckets {
		out[i] = b.Delivered + b.Failed + b.Pending
	}
	return out
}

// healthyWebhook is a webhook with its activity.
type healthyWebhook struct {
	webhookOf
	Health health
}

// Silent reports whether deliveries wait and none has ever succeeded.
func (w healthyWebhook) Silent() bool {
	return w.Enabled && w.LastDeliveredAt == nil && w.Health.SuccessRate == nil && w.Health.Waiting > 0
}

// webhooksPage is the data of pages/webhooks.html.
type webhooksPage struct {
	Webhooks   []healthyWebhook
	NextCursor *string
}

// webhookPage is the data of pages/webhook.html.
type webhookPage struct {
	healthyWebhook
	Deliveries list[deliveryOf]
	Faults     map[string]string // of an action
	Filter     form
	Statuses   []string
	Filtered   bool
}

// filterFields are the inputs of the filter of deliveries by the API's parameters.
var filterFields = map[string]string{"query.status": "status", "query.event_type": "event_type", "query.since": "since", "query.until": "until"}

// secretPage is the data of pages/webhook-secret.html.
type secretPage struct {
	ID, Secret    string
	PreviousUntil *time.Time
}

func (s *server) webhookRoutes() {
	s.watch("/webhooks", s.webhooks)
	s.watch("/webhooks/{id}", s.webhook)
	s.get("/webhooks/{id}/{action}", s.confirmWebhook)
	s.post("/webhooks/{id}/{action}", s.actOnWebhook)
}

// healths reads the activity of webhooks by their ids.
func (c *call) healths(list []webhookOf) (map[string]health, error) {
	out := map[string]health{}
	if len(list) == 0 {
		return out, nil
	}
	query := url.Values{"window": {"24h"}, "lanes": {"true"}}
	for _, w := range list {
		query.Add("webhook_id", w.ID)
	}
	var answer struct {
		Webhooks []health `json:"webhooks"`
	}
	if err := optional(c.get("/v1/activity", query, &answer)); err != nil {
		return nil, err
	}
	for _, h := range answer.Webhooks {
		out[h.WebhookID] = h
	}
	return out, nil
}

func (s *server) webhooks(c *call) error {
	var found list[webhookOf]
	query := c.pick()
	query.Set("limit", "25")
	if err := c.get("/v1/webhooks", query, &found); err != nil {
		return err
	}
	healths, err := c.healths(found.Data)
	if err != nil {
		return err
	}
	p := webhooksPage{NextCursor: found.NextCursor}
	for _, w := range found.Data {
		p.Webhooks = append(p.Webhooks, healthyWebhook{w, healths[w.ID]})
	}
	return c.page("webhooks", p)
}

func (c *call) webhookURL() string { return "/v1/webhooks/" + url.PathEscape(c.id("id")) }

func (s *server) webhook(c *call) error { return s.showWebhook(c, nil) }

// showWebhook shows a webhook, with what was wrong with an action on it.
func (s *server) showWebhook(c *call, faults map[string]string) error {
	p := webhookPage{Faults: faults}
	if err := c.get(c.webhookURL(), nil, &p.webhookOf); err != nil {
		return err
	}
	healths, err := c.healths([]webhookOf{p.webhookOf})
	if err != nil {
		return err
	}
	p.Health = healths[p.ID]
	if err := c.filtered(&p); err != nil {
		return err
	}
	return c.page("webhook", p)
}

// filtered reads the deliveries that the page's filter selects. A filter that the API refuses is shown with the reason.
func (c *call) filtered(p *webhookPage) error {
	p.Filter, p.Statuses = form{Form: c.query(), fields: filterFields}, []string{"pending", "delivered", "failed"}
	query := c.pick("status", "event_type", "since", "until")
	p.Filtered = query.Has("status") || query.Has("event_type") || query.Has("since") || query.Has("until")
	for _, name := range []string{"since", "until"} {
		if query.Has(name) {
			query.Set(name, moment(query.Get(name)))
		}
	}
	query.Set("limit", "25")
	for began := time.Now(); ; {
		p.Deliveries = list[deliveryOf]{}
		err := c.get(c.webhookURL()+"/deliveries", query, &p.Deliveries)
		if err != nil && p.Filtered && p.Filter.refuse(c, err) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(p.Deliveries.Data) > 0 || p.Deliveries.NextCursor == nil || time.Since(began) > passFor {
			return nil
		}
		query.Set("cursor", *p.Deliveries.NextCursor)
	}
}

// actions are what a button of a webhook's page does, and what it asks first; "": nothing.
var actions = map[string]struct{ Ask, Done, method, path string }{
	"pause":   {"", "The webhook is paused. Its deliveries wait.", http.MethodPatch, ""},
	"resume":  {"", "The webhook is resumed. Its deliveries flow.", http.MethodPatch, ""},
	"enable":  {"", "The webhook is enabled.", http.MethodPatch, ""},
	"disable": {"Disable this webhook? It misses later events; to have them wait, pause it.", "The webhook is disabled.", http.MethodPatch, ""},
	"delete":  {"Delete this webhook? Its pending deliveries end as failed.", "The webhook is deleted.", http.MethodDelete, ""},
	"rotate":  {"Make a new signing secret? For 24 hours, requests are signed with the old one too.", "", http.MethodPost, "/rotate-secret"},
	"test":    {"", "A test delivery is on its way.", http.MethodPost, "/test"},
}

var changes = map[string]map[string]any{
	"pause": {"paused": true}, "resume": {"paused": false}, "enable": {"enabled": true}, "disable": {"enabled": false},
}

// confirmPage is the data of pages/webhook-confirm.html.
type confirmPage struct {
	webhookOf
	Action, Ask string
}

func (s *server) confirmWebhook(c *call) error {
	p := confirmPage{Action: c.id("action"), Ask: actions[c.id("action")].Ask}
	if p.Ask == "" {
		return refused(http.StatusNotFound, "There is no such page.")
	}
	if err := c.get(c.webhookURL(), nil, &p.webhookOf); err != nil {
		return err
	}
	return c.page("webhook-confirm", p)
}

func (s *server) actOnWebhook(c *call) error {
	name := c.id("action")
	a, ok := actions[name]
	if !ok {
		return refused(http.StatusNotFound, "There is no such page.")
	}
	var in any
	if change, ok := changes[name]; ok {
		in = change
	}
	if secret := c.form().Get("signing_secret"); secret != "" && name == "rotate" {
		in = map[string]any{"signing_secret": secret}
	}
	var out struct {
		SigningSecret string     `json:"signing_secret"`
		PreviousUntil *time.Time `json:"previous_secret_expires_at"`
		Missed        *struct {
			Deliveries int  `json:"deliveries"`
			Complete   bool `json:"complete"`
			Replay     struct {
				Since string `json:"since"`
			} `json:"replay"`
		} `json:"missed"`
	}
	if err := c.send(a.method, c.webhookURL()+a.path, in, &out); err != nil {
		if f := faults(err); f != nil {
			c.status = refusal(err)
			return s.showWebhook(c, f)
		}
		return err
	}
	to := "/webhooks/" + url.PathEscape(c.id("id"))
	switch {
	case out.SigningSecret != "":
		return c.page("webhook-secret", secretPage{ID: c.id("id"), Secret: out.SigningSecret, PreviousUntil: out.PreviousUntil})
	case name == "delete":
		return c.redirect("/webhooks", a.Done)
	case out.Missed != nil:
		least := ""
		if !out.Missed.Complete {
			least = "at least "
		}
		return c.redirect("/replays/new?"+url.Values{"webhook_id": {c.id("id")}, "since": {out.Missed.Replay.Since}}.Encode(),
			fmt.Sprintf("The webhook is enabled. It missed %s%d events, which this replay sends.", least, out.Missed.Deliveries))
	}
	return c.redirect(to, a.Done)
}
