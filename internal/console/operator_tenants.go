package console

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// tenantRow is a tenant in a list.
type tenantRow struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Operator  bool      `json:"operator"`
	CreatedAt time.Time `json:"created_at"`
	// DeletedAt is since when it is deleted; nil: it is in use.
	DeletedAt *time.Time `json:"deleted_at"`

	AlertAddresses []string `json:"alert_addresses"`
}

// tenantsPage is the data of pages/operator-tenants.html.
type tenantsPage struct {
	list[tenantRow]
	Search string
}

// operatorTenants lists tenants. An id leads to its tenant.
func (s *server) operatorTenants(c *call) error {
	text := strings.TrimSpace(c.query().Get("q"))
	if id, err := events.Parse[events.TenantKind](text); err == nil {
		return c.redirect("/operator/tenants/"+id.String(), "")
	}
	p, query := tenantsPage{Search: text}, c.pick()
	if text != "" {
		query.Set("name", text)
	}
	if err := c.get("/v1/tenants", query, &p.list); err != nil {
		return err
	}
	return c.page("operator-tenants", p)
}

// tenantPage is the data of pages/operator-tenant.html.
type tenantPage struct {
	tenantRow
	Quota  quotaAnswer
	Limits []quotaRow
	Keys   list[struct {
		ID         string     `json:"id"`
		Name       string     `json:"name"`
		LastUsedAt *time.Time `json:"last_used_at"`
		RevokedAt  *time.Time `json:"revoked_at"`
	}]
	Domains list[struct {
		Name       string     `json:"domain"`
		VerifiedAt *time.Time `json:"verified_at"`
	}]
	Faults map[string]string
}

// quotaAnswer is the answer of GET /v1/tenants/{id}/quota.
type quotaAnswer struct {
	Limits map[string]int64 `json:"limits"`
	Used   map[string]int64 `json:"used"`
	Set    []string         `json:"set"`
}

// quotaRow is a limit of the form.
type quotaRow struct {
	Name  string
	Most  int64
	Used  *int64 // nil: not counted
	Value string // in the field; "": the server's default
}

// usedAs are the names of uses that differ from those of their limits.
var usedAs = map[string]string{
	"events_per_day": "events_today", "bytes_per_day": "bytes_today", "replays_per_hour": "replays_last_hour", "changes_per_day": "changes_today",
}

// Title is the limit's name for people.
func (q quotaRow) Title() string {
	words := strings.ReplaceAll(q.Name, "_", " ")
	for _, per := range []string{"second", "day", "hour"} {
		words = strings.ReplaceAll(words, " per "+per, " a "+per)
	}
	return strings.ReplaceAll(strings.ToUpper(words[:1])+words[1:], "a hour", "an hour")
}

// At is the location of the field in a refusal.
func (q quotaRow) At() string { return "body." + q.Name }

func quotaRows(a *quotaAnswer) []quotaRow {
	var out []quotaRow
	for _, name := range slices.Sorted(maps.Keys(a.Limits)) {
		row := quotaRow{Name: name, Most: a.Limits[name]}
		as := usedAs[name]
		if as == "" {
			as = name
		}
		if n, counted := a.Used[as]; counted {
			row.Used = &n
		}
		if slices.Contains(a.Set, name) {
			row.Value = strconv.FormatInt(row.Most, 10)
		}
		out = append(out, row)
	}
	return out
}

func (s *server) operatorTenant(c *call) error {
	p, err := s.tenantPage(c)
	if err != nil {
		return err
	}
	return c.page("operator-tenant", p)
}

func (s *server) tenantPage(c *call) (*tenantPage, error) {
	p := &tenantPage{}
	at, of := "/v1/tenants/"+url.PathEscape(c.id("id")), url.Values{"tenant_id": {c.id("id")}, "limit": {"20"}}
	for _, read := range []struct {
		path  string
		query url.Values
		to    any
	}{
		{at, nil, &p.tenantRow},
		{at + "/quota", nil, &p.Quota},
		{"/v1/keys", of, &p.Keys},
		{"/v1/domains", of, &p.Domains},
	} {
		if err := c.get(read.path, read.query, read.to); err != nil {
			return nil, err
		}
	}
	p.Limits = quotaRows(&p.Quota)
	return p, nil
}

// operatorQuota changes the limits of the form: an empty field is the server's default.
func (s *server) operatorQuota(c *call) error {
	p, err := s.tenantPage(c)
	if err != nil {
		return err
	}
	change := map[string]any{}
	for i := range p.Limits {
		row := &p.Limits[i]
		text, given := c.form()[row.Name]
		if !given || len(text) != 1 || strings.TrimSpace(text[0]) == row.Value {
			continue
		}
		row.Value = strings.TrimSpace(text[0])
		switch n, err := strconv.ParseInt(row.Value, 10, 64); {
		case row.Value == "":
			change[row.Name] = nil
		case err != nil:
			change[row.Name] = row.Value // the API says what is wrong
		default:
			change[row.Name] = n
		}
	}
	path := "/operator/tenants/" + p.ID
	if len(change) == 0 {
		return c.redirect(path, "Nothing was changed.")
	}
	if err := c.send(http.MethodPatch, "/v1/tenants/"+p.ID+"/quota", change, nil); err != nil {
		if p.Faults = faults(err); p.Faults == nil {
			return err
		}
		c.status = http.StatusUnprocessableEntity
		return c.page("operator-tenant", p)
	}
	return c.redirect(path, "The quota is changed.")
}

// operatorAlerts sets who gets mails about the tenant's failing webhooks: one address a line.
func (s *server) operatorAlerts(c *call) error {
	p, err := s.tenantPage(c)
	if err != nil {
		return err
	}
	p.AlertAddresses = strings.Fields(c.form().Get("alert_addresses"))
	if err := c.send(http.MethodPatch, "/v1/tenants/"+p.ID, map[string]any{"alert_addresses": append([]string{}, p.AlertAddresses...)}, nil); err != nil {
		if p.Faults = faults(err); p.Faults == nil {
			return err
		}
		c.status = http.StatusUnprocessableEntity
		return c.page("operator-tenant", p)
	}
	return c.redirect("/operator/tenants/"+p.ID, "The alert addresses are changed.")
}

// operatorDelete deletes the tenant, with the grace period that the form names.
func (s *server) operatorDelete(c *call) error {
	p, err := s.tenantPage(c)
	if err != nil {
		return err
	}
	path, query := "/operator/tenants/"+p.ID, url.Values{}
	if grace := strings.TrimSpace(c.form().Get("grace")); grace != "" {
		query.Set("grace", grace)
	}
	if _, err := c.do(c.r.Context(), http.MethodDelete, "/v1/tenants/"+p.ID, query, nil); err != nil {
		if p.Faults = faults(err); p.Faults == nil {
			return err
		}
		c.status = http.StatusUnprocessableEntity
		return c.page("operator-tenant", p)
	}
	return c.redirect(path, "The tenant is deleted. It can be restored until the grace period is over.")
}

func (s *server) operatorRestore(c *call) error {
	if err := c.send(http.MethodPost, "/v1/tenants/"+url.PathEscape(c.id("id"))+"/restore", nil, nil); err != nil {
		return err
	}
	return c.redirect("/operator/tenants/"+url.PathEscape(c.id("id")), "The tenant is restored.")
}
