package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// agentOf is an agent.
type agentOf struct {
	Address      string    `json:"address"`
	WebhookURL   *string   `json:"webhook_url"`
	AllowSenders []string  `json:"allow_senders"`
	DenySenders  []string  `json:"deny_senders"`
	RequireDMARC bool      `json:"require_dmarc"`
	CreatedAt    time.Time `json:"created_at"`
}

// agentDelivery is a mail for the agent's own webhook.
type agentDelivery struct {
	MessageID     string     `json:"message_id"`
	Status        string     `json:"status"`
	Attempts      int        `json:"attempts"`
	LastError     string     `json:"last_error"`
	LastAttemptAt *time.Time `json:"last_attempt_at"`
	NextRetryAt   *time.Time `json:"next_retry_at"`
	CreatedAt     time.Time  `json:"created_at"`
}

// agentsPage is the data of pages/agents.html.
type agentsPage struct {
	list[agentOf]
	Form   url.Values
	Faults map[string]string
}

// Value is what a field holds.
func (p agentsPage) Value(name string) string { return p.Form.Get(name) }

// agentPage is the data of pages/agent.html.
type agentPage struct {
	agentOf
	Deliveries list[agentDelivery]
	Status     string
	Statuses   []string
	Form       url.Values // what was typed and refused; nil: show what is stored
	Faults     map[string]string
}

// Value is what a field holds.
func (p agentPage) Value(name string) string {
	if p.Form != nil {
		return p.Form.Get(name)
	}
	switch name {
	case "webhook_url":
		if p.WebhookURL != nil {
			return *p.WebhookURL
		}
	case "allow_senders":
		return strings.Join(p.AllowSenders, "\n")
	case "deny_senders":
		return strings.Join(p.DenySenders, "\n")
	}
	return ""
}

func (s *server) agentRoutes() {
	s.get("/agents", s.agents)
	s.post("/agents", s.createAgent)
	s.watch("/agents/{address}", s.agent)
	s.post("/agents/{address}", s.changeAgent)
	s.post("/agents/{address}/delete", s.deleteAgent)
	s.post("/agents/{address}/messages/{id}/{action}", s.sendToAgent)
}

func (s *server) agents(c *call) error { return s.showAgents(c, agentsPage{}) }

// showAgents shows the list, with what is wrong with a form.
func (s *server) showAgents(c *call, p agentsPage) error {
	if err := c.get("/v1/agents", c.pick(), &p.list); err != nil {
		return err
	}
	return c.page("agents", p)
}

func (s *server) createAgent(c *call) error {
	in := map[string]any{"address": c.form().Get("address")}
	if v := c.form().Get("webhook_url"); v != "" {
		in["webhook_url"] = v
	}
	var made agentOf
	if err := c.send(http.MethodPost, "/v1/agents", in, &made); err != nil {
		f := faults(err)
		if f == nil {
			return err
		}
		c.status = refusal(err)
		return s.showAgents(c, agentsPage{Form: c.form(), Faults: f})
	}
	return c.redirect("/agents/"+url.PathEscape(made.Address), "The agent receives mail now.")
}

func (c *call) agentURL() string { return "/v1/agents/" + url.PathEscape(c.id("address")) }

func (s *server) agent(c *call) error { return s.showAgent(c, agentPage{}) }

// showAgent shows an agent, with what is wrong with a form.
func (s *server) showAgent(c *call, p agentPage) error {
	if err := c.get(c.agentURL(), nil, &p.agentOf); err != nil {
		return err
	}
	p.Status, p.Statuses = c.query().Get("status"), []string{"pending", "delivered", "failed"}
	if err := c.get(c.agentURL()+"/deliveries", c.pick("status"), &p.Deliveries); err != nil {
		return err
	}
	return c.page("agent", p)
}

func (s *server) refusedAgent(c *call, err error, typed url.Values) error {
	f := faults(err)
	if f == nil {
		return err
	}
	c.status = refusal(err)
	return s.showAgent(c, agentPage{Form: typed, Faults: f})
}

func (s *server) changeAgent(c *call) error {
	f := c.form()
	in := map[string]any{
		"webhook_url": nil, "allow_senders": lines(f.Get("allow_senders")), "deny_senders": lines(f.Get("deny_senders")), "require_dmarc": f.Get("require_dmarc") != "",
	}
	if v := strings.TrimSpace(f.Get("webhook_url")); v != "" {
		in["webhook_url"] = v
	}
	if err := c.send(http.MethodPatch, c.agentURL(), in, nil); err != nil {
		return s.refusedAgent(c, err, f)
	}
	return c.redirect("/agents/"+url.PathEscape(c.id("address")), "The agent is changed.")
}

func (s *server) deleteAgent(c *call) error {
	if err := c.send(http.MethodDelete, c.agentURL(), nil, nil); err != nil {
		return s.refusedAgent(c, err, nil)
	}
	return c.redirect("/agents", "The agent is deleted.")
}

// sendToAgent makes a mail's delivery due, or delivers it now.
func (s *server) sendToAgent(c *call) error {
	done := map[string]string{"retry": "The delivery is due now.", "deliver": "The endpoint took the mail."}[c.id("action")]
	if done == "" {
		return refused(http.StatusNotFound, "There is no such page.")
	}
	var out struct {
		Success *bool   `json:"success"`
		Error   *string `json:"error"`
	}
	if err := c.send(http.MethodPost, "/v1/messages/"+url.PathEscape(c.id("id"))+"/"+c.id("action"), nil, &out); err != nil {
		return s.refusedAgent(c, err, nil)
	}
	if out.Success != nil && !*out.Success {
		done = "The endpoint did not take the mail; the delivery shows why."
	}
	return c.redirect("/agents/"+url.PathEscape(c.id("address")), done)
}
