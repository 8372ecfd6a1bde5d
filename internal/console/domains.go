package console

import (
	"net/http"
	"net/url"
	"time"
)

// domainOf is a domain of the tenant.
type domainOf struct {
	Domain     string     `json:"domain"`
	VerifiedAt *time.Time `json:"verified_at"`
	CreatedAt  time.Time  `json:"created_at"`
	Record     struct {
		Type  string `json:"type"`
		Name  string `json:"name"`
		Value string `json:"value"`
	} `json:"record"`
}

// domainsPage is the data of pages/domains.html.
type domainsPage struct {
	list[domainOf]
	Typed  string
	Faults map[string]string
}

func (s *server) domainRoutes() {
	s.get("/domains", s.domains)
	s.post("/domains", s.createDomain)
	s.post("/domains/{domain}/verify", s.verifyDomain)
	s.post("/domains/{domain}/delete", s.deleteDomain)
}

func (s *server) domains(c *call) error { return s.showDomains(c, domainsPage{}) }

// showDomains shows the list, with what is wrong with a form.
func (s *server) showDomains(c *call, p domainsPage) error {
	if err := c.get("/v1/domains", c.pick(), &p.list); err != nil {
		return err
	}
	return c.page("domains", p)
}

func (s *server) createDomain(c *call) error {
	typed := c.form().Get("domain")
	if err := c.send(http.MethodPost, "/v1/domains", map[string]any{"domain": typed}, nil); err != nil {
		return s.refusedDomain(c, typed, err)
	}
	return c.redirect("/domains", "Set the DNS record below, then verify the domain.")
}

func (s *server) refusedDomain(c *call, typed string, err error) error {
	f := faults(err)
	if f == nil {
		return err
	}
	c.status = refusal(err)
	return s.showDomains(c, domainsPage{Typed: typed, Faults: f})
}

func (c *call) domainURL() string { return "/v1/domains/" + url.PathEscape(c.id("domain")) }

func (s *server) verifyDomain(c *call) error {
	if err := c.send(http.MethodPost, c.domainURL()+"/verify", nil, nil); err != nil {
		return s.refusedDomain(c, "", err)
	}
	return c.redirect("/domains", "The domain is verified.")
}

func (s *server) deleteDomain(c *call) error {
	if err := c.send(http.MethodDelete, c.domainURL(), nil, nil); err != nil {
		return s.refusedDomain(c, "", err)
	}
	return c.redirect("/domains", "The domain is deleted.")
}
