package console

import (
	"fmt"
	"math"
	"net/url"
	"time"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/operator"
)

func (s *server) operatorRoutes() {
	s.watch("/operator", s.operatorHome)
	s.watch("/operator/partitions", s.operatorPartitions)
	s.watch("/operator/top", s.operatorTop)
	s.get("/operator/doctor", s.operatorDoctor)
	s.get("/operator/tenants", s.operatorTenants)
	s.get("/operator/tenants/{id}", s.operatorTenant)
	s.post("/operator/tenants/{id}", s.operatorQuota)
	s.post("/operator/tenants/{id}/alerts", s.operatorAlerts)
	s.post("/operator/tenants/{id}/delete", s.operatorDelete)
	s.post("/operator/tenants/{id}/restore", s.operatorRestore)
	s.post("/operator/view", s.operatorView)
}

// systemPage is the data of the pages about the whole system.
type systemPage struct {
	operator.SystemStats
}

func (s *server) systemPage(c *call) (p systemPage, err error) {
	err = c.get("/v1/operator/stats", nil, &p.SystemStats)
	return p, err
}

func (s *server) operatorHome(c *call) error {
	p, err := s.systemPage(c)
	if err != nil {
		return err
	}
	return c.page("operator", p)
}

func (s *server) operatorPartitions(c *call) error {
	p, err := s.systemPage(c)
	if err != nil {
		return err
	}
	return c.page("operator-partitions", p)
}

// Series are the values of each minute of the last hour, oldest first; a minute without activity is 0.
func (p systemPage) Series(of string) []float64 {
	const minutes = 60
	out := make([]float64, minutes)
	now := p.At.Truncate(time.Minute)
	for _, m := range p.History {
		i := minutes - 1 - int(now.Sub(m.At)/time.Minute)
		if i < 0 || i >= minutes {
			continue
		}
		switch of {
		case "events":
			out[i] = float64(m.Events)
		case "attempts":
			out[i] = float64(m.Delivered + m.Failed)
		case "failed":
			out[i] = float64(m.Failed)
		case "p95":
			if m.P95 != nil {
				out[i] = *m.P95
			}
		}
	}
	return out
}

// Gone counts the processes that have not been seen for a while.
func (p systemPage) Gone() (n int) { return p.processes("gone") }

// Well counts the processes that work.
func (p systemPage) Well() (n int) { return p.processes("ok") }

func (p systemPage) processes(status string) (n int) {
	for i := range p.Processes {
		if p.Processes[i].Status == status {
			n++
		}
	}
	return n
}

// perSecond shows a number a second.
func perSecond(n float64) string {
	switch {
	case n < 9.95:
		return fmt.Sprintf("%.1f", n)
	default:
		return fmt.Sprintf("%.0f", n)
	}
}

// Rate shows a number a second.
func (systemPage) Rate(n float64) string { return perSecond(n) }

// Lasting shows seconds as a duration.
func (systemPage) Lasting(seconds float64) string {
	if seconds < 1 {
		return "0 s"
	}
	return span(time.Duration(math.Min(seconds, 1e9) * float64(time.Second)))
}

// topPage is the data of pages/operator-top.html.
type topPage struct {
	operator.Top
	Choices []topChoice
}

// topChoice is a parameter of the page with its values.
type topChoice struct {
	Name, Title, Value string
	Values             []string
}

// Rate shows a number a second.
func (topPage) Rate(n float64) string { return perSecond(n) }

func (s *server) operatorTop(c *call) error {
	p := topPage{Choices: []topChoice{
		{Name: "by", Title: "By", Value: "tenant", Values: []string{"tenant", "webhook", "agent"}},
		{Name: "order", Title: "Most", Value: "rate", Values: []string{"rate", "failures", "backlog", "slots", "bytes"}},
		{Name: "window", Title: "In the last", Value: "1m", Values: []string{"1m", "5m"}},
	}}
	query := url.Values{"limit": {"50"}}
	for i := range p.Choices {
		choice := &p.Choices[i]
		if v := c.query().Get(choice.Name); v != "" {
			choice.Value = v
		}
		query.Set(choice.Name, choice.Value)
	}
	if err := c.get("/v1/operator/top", query, &p.Top); err != nil {
		return err
	}
	return c.page("operator-top", p)
}

// doctorPage is the data of pages/operator-doctor.html.
type doctorPage struct {
	OK       bool      `json:"ok"`
	At       time.Time `json:"at"`
	Took     float64   `json:"took_ms"`
	Findings []finding `json:"findings"`
}

type finding struct {
	Check, Status, Detail, Fix string
}

// Troubles are the findings that need attention, those that fail first.
func (p doctorPage) Troubles() (out []finding) {
	for _, status := range []string{"fail", "warn"} {
		for _, f := range p.Findings {
			if f.Status == status {
				out = append(out, f)
			}
		}
	}
	return out
}

// Calm are the findings that need none.
func (p doctorPage) Calm() (out []finding) {
	for _, f := range p.Findings {
		if f.Status == "ok" {
			out = append(out, f)
		}
	}
	return out
}

func (s *server) operatorDoctor(c *call) error {
	var p doctorPage
	if err := c.get("/v1/operator/doctor", nil, &p); err != nil {
		return err
	}
	return c.page("operator-doctor", p)
}

// operatorView chooses the tenant that the operator looks at; an empty one ends it. With a webhook, its page follows.
func (s *server) operatorView(c *call) error {
	var tenant events.TenantID
	if text := c.form().Get("tenant_id"); text != "" {
		if err := tenant.UnmarshalText([]byte(text)); err != nil {
			return refused(422, "tenant_id: is no id of a tenant")
		}
	}
	if err := s.sessions.view(c.r.Context(), c.session.hash, tenant); err != nil {
		return err
	}
	if tenant.IsZero() {
		return c.redirect("/operator", "")
	}
	if hook, err := events.Parse[events.WebhookKind](c.form().Get("webhook_id")); err == nil {
		return c.redirect("/webhooks/"+hook.String(), "")
	}
	return c.redirect("/", "")
}
