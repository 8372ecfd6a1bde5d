package console

import (
	"net/http"
	"net/url"
	"time"
)

// eventFilters are the parameters of GET /v1/events that the form has, without those of time.
var eventFilters = []string{"type", "agent_id", "from", "to", "subject", "message_id", "message_id_header"}

// eventsPage is the data of pages/events.html.
type eventsPage struct {
	searchedList[eventRow]
	Filters  url.Values
	Filtered bool
	Within   any
	// Replay has the filters that a replay has too.
	Replay string
}

// Value is the value of a filter.
func (p eventsPage) Value(name string) string { return p.Filters.Get(name) }

func (s *server) eventRoutes() {
	s.watch("/events", s.events)
	s.watch("/events/{id}", s.event)
	s.get("/events/{id}/html", s.eventHTML)
	s.get("/events/{id}/envelope", s.eventEnvelope)
	s.post("/events/{id}/redeliver", s.redeliver)
}

func (s *server) events(c *call) error {
	query := c.pick(append([]string{"since", "until"}, eventFilters...)...)
	p := eventsPage{Filters: c.query(), Filtered: len(query) > 0 || c.query().Get("within") != "", Within: within}
	since(query, c.query().Get("within"))
	if err := c.searchOn("/v1/events", query, &p.searchedList); err != nil {
		return err
	}
	p.Replay = replayOf(query)
	return c.page("events", p)
}

// replayOf is the query of the form of a new replay for a list's filters.
func replayOf(query url.Values) string {
	out := url.Values{}
	for from, to := range map[string]string{"type": "types", "agent_id": "agent_ids", "since": "since", "until": "until"} {
		if v := query.Get(from); v != "" {
			out.Set(to, v)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "?" + out.Encode()
}

// fanOut is how far an event is.
type fanOut struct {
	State       string     `json:"state"`
	Publishes   int        `json:"publishes"`
	LeasedUntil *time.Time `json:"leased_until"`
}

// matchRow is a webhook and whether an event went to it.
type matchRow struct {
	WebhookID string     `json:"webhook_id"`
	URL       string     `json:"url"`
	DeletedAt *time.Time `json:"deleted_at"`
	FannedOut bool       `json:"fanned_out"`
	Text      string     `json:"text"`
	Certain   bool       `json:"certain"`
	ChangedAt *time.Time `json:"changed_at"`
	WantedNow bool       `json:"wanted_now"`
}

// eventPage is the data of pages/event.html.
type eventPage struct {
	eventRow
	FanOut     fanOut       `json:"fan_out"`
	Envelope   rawJSON      `json:"envelope"`
	Deliveries []deliveryOf `json:"deliveries"`
	Truncated  bool         `json:"deliveries_truncated"`

	Mail    *mailView
	Skipped []matchRow
	More    bool // there are more webhooks than Skipped tells of
	Raw     *rawMail
	// URLs are the webhooks' URLs by their ids.
	URLs map[string]string
}

// ShownEnvelope is the beginning of the envelope, laid out.
func (p eventPage) ShownEnvelope() cutText { return shownText(p.Envelope.indented(), maxShown) }

// readEvent reads an event, with the query's parameters.
func (s *server) readEvent(c *call, query url.Values) (*eventPage, error) {
	p := &eventPage{URLs: map[string]string{}}
	if err := c.get("/v1/events/"+url.PathEscape(c.id("id")), query, p); err != nil {
		return nil, err
	}
	p.Mail = mailOf(dataOf(p.Envelope.bytes))
	return p, nil
}

func (s *server) event(c *call) error {
	p, err := s.readEvent(c, url.Values{"attempts": {"true"}})
	if err != nil {
		return err
	}
	var matches list[matchRow]
	reads := []func() error{func() error {
		return optional(c.get("/v1/events/"+url.PathEscape(p.ID)+"/matches", url.Values{"limit": {"100"}}, &matches))
	}}
	if p.OwnMessage() && c.block == "" {
		reads = append(reads, func() (err error) { p.Raw, err = c.rawBeginning(*p.MessageID); return err })
	}
	if err := together(reads...); err != nil {
		return err
	}
	for _, m := range matches.Data {
		p.URLs[m.WebhookID] = m.URL
		if !m.FannedOut {
			p.Skipped = append(p.Skipped, m)
		}
	}
	p.More = matches.NextCursor != nil
	return c.page("event", p)
}

func (s *server) eventHTML(c *call) error {
	p, err := s.readEvent(c, nil)
	if err != nil {
		return err
	}
	if p.Mail == nil || p.Mail.HTML == "" {
		return refused(http.StatusNotFound, "The event has no HTML.")
	}
	return c.frameHTML(p.Mail.HTML)
}

func (s *server) eventEnvelope(c *call) error {
	p, err := s.readEvent(c, nil)
	if err != nil {
		return err
	}
	return c.sendBytes(p.Envelope.bytes, p.ID+".json")
}

func (s *server) redeliver(c *call) error {
	var in any = map[string]any{}
	words := "The event is sent again to every webhook that had it."
	if hook := c.form().Get("webhook_id"); hook != "" {
		in, words = map[string]any{"webhook_id": hook}, "The event is sent again to the webhook."
	}
	id := url.PathEscape(c.id("id"))
	if err := c.send(http.MethodPost, "/v1/events/"+id+"/redeliver", in, nil); err != nil {
		return err
	}
	return c.redirect("/events/"+id, words)
}
