package console

import (
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// tenantRow is a tenant in a list.
type tenantRow struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Operator  bool      `json:"operator"`
	CreatedAt time.Time `json:"created_at"`
}

func (s *server) operatorRoutes() {
	s.get("/operator", s.operatorHome)
	s.get("/operator/tenants", s.operatorTenants)
	s.post("/operator/view", s.operatorView)
}

func (s *server) operatorHome(c *call) error { return c.redirect("/operator/tenants", "") }

func (s *server) operatorTenants(c *call) error {
	var p list[tenantRow]
	if err := c.get("/v1/tenants", c.pick(), &p); err != nil {
		return err
	}
	return c.page("operator-tenants", p)
}

// operatorView chooses the tenant that the operator looks at; an empty one ends it.
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
	return c.redirect("/", "")
}
