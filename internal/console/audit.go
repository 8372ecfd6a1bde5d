package console

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"
)

// auditRow is a change of the audit log.
type auditRow struct {
	At        time.Time       `json:"at"`
	TenantID  *string         `json:"tenant_id"`
	ActorKind string          `json:"actor_kind"`
	ActorID   string          `json:"actor_id"`
	ActorName string          `json:"actor_name"`
	Address   *string         `json:"address"`
	Operation string          `json:"operation"`
	Object    string          `json:"object"`
	Before    json.RawMessage `json:"before"`
	After     json.RawMessage `json:"after"`
}

// ShownBefore is the object before the change, indented; "" for none.
func (r auditRow) ShownBefore() string { return shownObject(r.Before) }

// ShownAfter is the object after the change, indented; "" for none.
func (r auditRow) ShownAfter() string { return shownObject(r.After) }

func shownObject(object json.RawMessage) string {
	if len(object) == 0 || string(object) == "null" {
		return ""
	}
	return indented(object)
}

// auditPage is the data of pages/audit.html and pages/operator-audit.html.
type auditPage struct {
	list[auditRow]
	Form url.Values
	Path string
}

// Value is what a field of the filter holds.
func (p auditPage) Value(name string) string { return p.Form.Get(name) }

// Filtered reports whether the list has a filter.
func (p auditPage) Filtered() bool {
	for _, name := range auditFilters {
		if p.Form.Get(name) != "" {
			return true
		}
	}
	return false
}

var auditFilters = []string{"actor", "operation", "object", "tenant_id"}

func (s *server) auditRoutes() {
	s.get("/audit", func(c *call) error { return c.audit("audit", "/audit", auditFilters[:3]) })
	s.get("/operator/audit", func(c *call) error { return c.audit("operator-audit", "/operator/audit", auditFilters) })
}

func (c *call) audit(name, path string, filters []string) error {
	query := c.pick(filters...)
	for field, values := range query {
		query.Set(field, strings.TrimSpace(values[0]))
	}
	p := auditPage{Form: query, Path: path}
	if err := c.get("/v1/audit", query, &p.list); err != nil {
		return err
	}
	return c.page(name, p)
}
