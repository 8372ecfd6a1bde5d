package console

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// portalLinkOf is a portal link without its token.
type portalLinkOf struct {
	ID       string   `json:"id"`
	Webhooks []string `json:"webhook_ids"`
	Origins  []string `json:"origins"`
	Theme    struct {
		Accent     string `json:"accent"`
		Ink        string `json:"ink"`
		Background string `json:"background"`
		Card       string `json:"card"`
		Line       string `json:"line"`
		Logo       string `json:"logo"`
		Language   string `json:"language"`
	} `json:"theme"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
}

// Look are the settings of the link's theme, in words.
func (l portalLinkOf) Look() (out []string) {
	t := l.Theme
	for _, of := range [][2]string{{"accent", t.Accent}, {"ink", t.Ink}, {"background", t.Background}, {"card", t.Card}, {"line", t.Line}, {"language", t.Language}} {
		if of[1] != "" {
			out = append(out, of[0]+" "+of[1])
		}
	}
	if t.Logo != "" {
		out = append(out, "logo")
	}
	return out
}

// portalLinksPage is the data of pages/portal-links.html.
type portalLinksPage struct {
	list[portalLinkOf]
	form
	Webhooks []webhookOf // that the form offers
	URL      string      // of a link that was just made
}

// Languages are those of portals. The first is the default.
func (portalLinksPage) Languages() []string { return tenancy.PortalLanguages }

// MaxLogo is the most bytes of a logo.
func (portalLinksPage) MaxLogo() int { return tenancy.MaxLogoBytes }

// themeTexts are the settings of a theme that are typed or chosen.
var themeTexts = []string{"accent", "ink", "background", "card", "line", "language"}

// portalLinkFields are the inputs of the form by the API's fields.
var portalLinkFields = map[string]string{
	"body.webhook_ids": "more_webhooks", "body.expires_in": "expires_in", "body.origins": "origins",
	"body.theme.accent": "accent", "body.theme.ink": "ink", "body.theme.background": "background", "body.theme.card": "card", "body.theme.line": "line",
	"body.theme.logo": "logo", "body.theme.language": "language",
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
	for _, name := range themeTexts {
		if text := strings.TrimSpace(f.Value(name)); text != "" {
			theme[name] = text
		}
	}
	logo, err := c.logo()
	if err != nil {
		return s.refusedPortalLink(c, f, err)
	}
	if logo != "" {
		theme["logo"] = logo
	}
	hooks := slices.Concat(f.Form["webhook_ids"], items(f.Value("more_webhooks")))
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

// logo is the file of a form as the API takes it: a data: URL. It is empty if none was chosen.
func (c *call) logo() (string, error) {
	file, _, err := c.r.FormFile("logo")
	if errors.Is(err, http.ErrMissingFile) || errors.Is(err, http.ErrNotMultipart) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("open the file of a form: %w", err)
	}
	content, err := io.ReadAll(io.LimitReader(file, tenancy.MaxLogoBytes+1))
	if err != nil {
		return "", fmt.Errorf("read the file of a form: %w", err)
	}
	if len(content) > tenancy.MaxLogoBytes {
		return "", badField("body.theme.logo", fmt.Sprintf("has more than %d bytes, which is the limit", tenancy.MaxLogoBytes))
	}
	// The API checks that the bytes are an image of this type.
	return "data:" + http.DetectContentType(content) + ";base64," + base64.StdEncoding.EncodeToString(content), nil
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
