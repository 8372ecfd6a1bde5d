package console

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

// webhookForm is the data of pages/webhook-new.html and pages/webhook-edit.html.
type webhookForm struct {
	ID      string
	Form    url.Values
	Faults  map[string]string
	Types   []events.Type
	Headers []string // the names of the stored headers, whose values are secrets
}

// Value is what a field holds.
func (f webhookForm) Value(name string) string { return f.Form.Get(name) }

// Has reports whether a type is chosen.
func (f webhookForm) Has(t events.Type) bool {
	for _, chosen := range f.Form["events"] {
		if chosen == string(t) {
			return true
		}
	}
	return false
}

// body is the API's request. Empty numbers are null in a change and absent in a creation. A number that is none stays a
// text, so that the API names it.
func (f webhookForm) body(change bool) map[string]any {
	v := f.Value
	types := append([]string{}, f.Form["events"]...)
	types = append(types, strings.FieldsFunc(v("patterns"), func(r rune) bool { return r == ',' || r == ' ' || r == '\n' || r == '\r' })...)
	b := map[string]any{
		"url": v("url"), "description": v("description"), "events": types,
		"filters": map[string]any{"agent_ids": lines(v("agent_ids")), "conversation_ids": lines(v("conversation_ids")), "labels": lines(v("labels"))},
	}
	if v("ordering") != "" {
		b["ordering"] = v("ordering")
	}
	for _, name := range []string{"max_in_flight", "rate_limit", "timeout"} {
		text := strings.TrimSpace(v(name))
		n, err := strconv.Atoi(text)
		switch {
		case text == "" && change && name != "max_in_flight":
			b[name] = nil
		case text == "":
		case err != nil:
			b[name] = text
		default:
			b[name] = n
		}
	}
	if ca := v("ca"); strings.TrimSpace(ca) != "" {
		b["ca"] = ca
	}
	f.secrets(b)
	return b
}

// secrets adds the headers, the credentials and the secret that the form gives. They are written, and never shown.
func (f webhookForm) secrets(b map[string]any) {
	v := f.Value
	headers := map[string]string{}
	for _, line := range lines(v("headers")) {
		name, value, _ := strings.Cut(line, ":")
		headers[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	if len(headers) > 0 || v("clear_headers") != "" {
		b["headers"] = headers
	}
	switch v("auth") {
	case "none":
		b["auth"] = nil
	case "basic":
		b["auth"] = map[string]any{"type": "basic", "username": v("username"), "password": v("password")}
	case "oauth2":
		auth := map[string]any{"type": "oauth2", "token_url": v("token_url"), "client_id": v("client_id"), "client_secret": v("client_secret")}
		if scopes := strings.Fields(v("scopes")); len(scopes) > 0 {
			auth["scopes"] = scopes
		}
		b["auth"] = auth
	case "mtls":
		b["auth"] = map[string]any{"type": "mtls", "certificate": v("certificate"), "private_key": v("private_key")}
	}
	if secret := v("signing_secret"); secret != "" {
		b["signing_secret"] = secret
	}
}

// withoutSecrets is the typed form as it is shown again.
func withoutSecrets(form url.Values) url.Values {
	out := url.Values{}
	for name, v := range form {
		switch name {
		case "headers", "password", "client_secret", "private_key", "signing_secret", "csrf":
		default:
			out[name] = v
		}
	}
	return out
}

func (s *server) webhookFormRoutes() {
	s.get("/webhooks/new", s.newWebhook)
	s.post("/webhooks/new", s.createWebhook)
	s.get("/webhooks/{id}/edit", s.editWebhook)
	s.post("/webhooks/{id}/edit", s.changeWebhook)
}

func (s *server) newWebhook(c *call) error {
	return c.page("webhook-new", webhookForm{Form: url.Values{"events": {string(events.EmailReceived)}}, Types: events.Catalogue()})
}

func (s *server) createWebhook(c *call) error {
	f := webhookForm{Form: c.form(), Types: events.Catalogue()}
	b := f.body(false)
	if b["auth"] == nil {
		delete(b, "auth")
	}
	var out struct {
		ID            string `json:"id"`
		SigningSecret string `json:"signing_secret"`
	}
	if err := c.send(http.MethodPost, "/v1/webhooks", b, &out); err != nil {
		return s.refusedForm(c, "webhook-new", f, err)
	}
	return c.page("webhook-secret", secretPage{ID: out.ID, Secret: out.SigningSecret})
}

// refusedForm shows a form again with what is wrong, and with what was typed.
func (s *server) refusedForm(c *call, page string, f webhookForm, err error) error {
	if f.Faults = faults(err); f.Faults == nil {
		return err
	}
	f.Form, c.status = withoutSecrets(f.Form), refusal(err)
	return c.page(page, f)
}

func (s *server) editWebhook(c *call) error {
	var w webhookOf
	if err := c.get(c.webhookURL(), nil, &w); err != nil {
		return err
	}
	f := url.Values{
		"url": {w.URL}, "description": {w.Description}, "events": w.Events, "max_in_flight": {strconv.Itoa(w.MaxInFlight)}, "ordering": {w.Ordering},
		"agent_ids": {strings.Join(w.Filters.AgentIDs, "\n")}, "conversation_ids": {strings.Join(w.Filters.ConversationIDs, "\n")}, "labels": {strings.Join(w.Filters.Labels, "\n")},
	}
	if w.RateLimit != nil {
		f.Set("rate_limit", strconv.Itoa(*w.RateLimit))
	}
	if w.Timeout != nil {
		f.Set("timeout", strconv.Itoa(*w.Timeout))
	}
	form := webhookForm{ID: w.ID, Form: f, Types: events.Catalogue()}
	var others []string
	for _, t := range w.Events {
		if !events.Type(t).Known() {
			others = append(others, t)
		}
	}
	f.Set("patterns", strings.Join(others, " "))
	return c.page("webhook-edit", form)
}

func (s *server) changeWebhook(c *call) error {
	f := webhookForm{ID: c.id("id"), Form: c.form(), Types: events.Catalogue()}
	b := f.body(true)
	delete(b, "signing_secret")
	if err := c.send(http.MethodPatch, c.webhookURL(), b, nil); err != nil {
		return s.refusedForm(c, "webhook-edit", f, err)
	}
	return c.redirect("/webhooks/"+url.PathEscape(c.id("id")), "The webhook is changed.")
}
