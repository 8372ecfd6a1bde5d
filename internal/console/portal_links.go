package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/events"
)

// portalLinkOf is a portal link without its token.
type portalLinkOf struct {
	ID       string   `json:"id"`
	Webhooks []string `json:"webhook_ids"`
	Origins  []string `json:"origins"`
	Theme    struct {
		Accent   string `json:"accent"`
		Language string `json:"language"`
	} `json:"theme"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// portalLinksPage is the data of pages/portal-links.html.
type portalLinksPage struct {
	list[portalLinkOf]
	form
	Webhooks []webhookOf // that the form offers
	URL      string      // of a link that was just made
}

// portalLinkFields are the inputs of the form by the API's fields.
var portalLinkFields = map[string]string{
	"body.webhook_ids": "more_webhooks", "body.expires_in": "expires_in", "body.origins": "origins", "body.theme.accent": "accent", "body.theme.language": "language",
}

func (s *server) portalLinkRoutes() {
	s.get("/portal-links", s.portalLinks)
	s.post("/portal-links", s.createPortalLink)
	s.post("/portal-links/{id}/revoke", s.revokePortalLink)
}

func (s *server) portalLinks(c *call) error {
	return s.showPortalLinks(c, portalLinksPage{form: form{Form: url.Values{"webhook_ids": c.query()["webhook_id"], "expires_in": {"24h"}}}})
}

// showPortalLinks shows the list, with the URL of a new link or what is wrong with the form.
func (s *server) showPortalLinks(c *call, p portalLinksPage) error {
	p.fields = portalLinkFields
	if err := c.get("/v1/portal-links", c.pick(), &p.list); err != nil {
		return err
	}
	var hooks list[webhookOf]
	if err := c.get("/v1/webhooks", url.Values{"limit": {"100"}}, &hooks); err != nil {
		return err
	}
	p.Webhooks = hooks.Data
	offered := map[string]bool{}
	for _, w := range p.Webhooks {
		offered[w.ID] = true
	}
	// A chosen webhook that the list has no box for stands in the field below it.
	others := items(p.Value("more_webhooks"))
	for _, id := range p.Form["webhook_ids"] {
		if !offered[id] {
			others = append(others, id)
		}
	}
	if len(others) > 0 {
		p.Form.Set("more_webhooks", strings.Join(others, " "))
	}
	return c.page("portal-links", p)
}

func (s *server) createPortalLink(c *call) error {
	f := form{Form: c.form()}
	theme := map[string]any{}
	for _, name := range []string{"accent", "language"} {
		if text := strings.TrimSpace(f.Value(name)); text != "" {
			theme[name] = text
		}
	}
	hooks := append(append([]string{}, f.Form["webhook_ids"]...), items(f.Value("more_webhooks"))...)
	for i, text := range hooks {
		// The API names no field for a text that is no id.
		var id events.WebhookID
		if err := id.UnmarshalText([]byte(text)); err != nil {
			return s.refusedPortalLink(c, f, badField(fmt.Sprintf("body.webhook_ids[%d]", i), err.Error()))
		}
	}
	in := map[string]any{"webhook_ids": hooks, "origins": items(f.Value("origins")), "theme": theme}
	if text := strings.TrimSpace(f.Value("expires_in")); text != "" {
		in["expires_in"] = text
	}
	var made struct {
		URL string `json:"url"`
	}
	if err := c.send(http.MethodPost, "/v1/portal-links", in, &made); err != nil {
		return s.refusedPortalLink(c, f, err)
	}
	return s.showPortalLinks(c, portalLinksPage{URL: made.URL, form: form{Form: url.Values{"expires_in": {"24h"}}}})
}

func (s *server) refusedPortalLink(c *call, f form, err error) error {
	if !f.refuse(c, err) {
		return err
	}
	return s.showPortalLinks(c, portalLinksPage{form: f})
}

func (s *server) revokePortalLink(c *call) error {
	if err := c.send(http.MethodDelete, "/v1/portal-links/"+url.PathEscape(c.id("id")), nil, nil); err != nil {
		return s.refusedPortalLink(c, form{Form: url.Values{}}, err)
	}
	return c.redirect("/portal-links", "The link is revoked.")
}
