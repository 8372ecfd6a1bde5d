package console

import "time"

// eventRow is an event in a list.
type eventRow struct {
	ID             string    `json:"id"`
	Type           string    `json:"type"`
	CreatedAt      time.Time `json:"created_at"`
	AgentID        *string   `json:"agent_id"`
	ConversationID *string   `json:"conversation_id"`
	MessageID      *string   `json:"message_id"`
}

// eventsPage is the data of pages/events.html.
type eventsPage struct {
	list[eventRow]
	Type, AgentID string
}

func (s *server) eventRoutes() { s.get("/events", s.events) }

func (s *server) events(c *call) error {
	p := eventsPage{Type: c.query().Get("type"), AgentID: c.query().Get("agent_id")}
	if err := c.get("/v1/events", c.pick("type", "agent_id", "since", "until"), &p); err != nil {
		return err
	}
	return c.page("events", p)
}
