package console

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// webhookForm is the data of pages/webhook-new.html and pages/webhook-edit.html.
type webhookForm struct {
	ID string
	form
	Types []events.Type
	// Own are the types that are not built in.
	Own []string
	// Stored is the webhook before the change.
	Stored webhookOf
}

// Pull reports whether the webhook is polled: it has no settings of POSTs.
func (f webhookForm) Pull() bool { return f.Stored.Pull() }

// NATS reports whether a webhook that exists publishes at a broker.
func (f webhookForm) NATS() bool { return f.Stored.NATS() }

// webhookFields are the inputs of a webhook's form by the API's fields.
var webhookFields = map[string]string{
	"body.kind": "kind", "body.url": "url", "body.subject": "subject", "body.description": "description", "body.events": "patterns", "body.filters.agent_ids": "agent_ids",
	"body.filters.conversation_ids": "conversation_ids", "body.filters.labels": "labels", "body.filters.data": "data", "body.max_in_flight": "max_in_flight",
	"body.rate_limit": "rate_limit", "body.timeout": "timeout", "body.ordering": "ordering", "body.retry": "retry",
	"body.retry.delays": "delays", "body.retry.initial": "initial", "body.retry.factor": "factor", "body.retry.max": "max",
	"body.retry.attempts": "attempts", "body.retry.jitter": "jitter", "body.retry.final": "final", "body.ed25519": "ed25519",
	"body.envelope": "envelope", "body.envelope_until": "envelope_until", "body.headers": "headers", "body.auth": "auth",
	"body.auth.username": "username", "body.auth.password": "password", "body.auth.token_url": "token_url",
	"body.auth.client_id": "client_id", "body.auth.client_secret": "client_secret", "body.auth.scopes": "scopes",
	"body.auth.certificate": "certificate", "body.auth.private_key": "private_key", "body.auth.credentials": "credentials", "body.ca": "ca", "body.signing_secret": "signing_secret",
}

func newWebhookForm(id string, filled url.Values) webhookForm {
	return webhookForm{ID: id, form: form{Form: filled, fields: webhookFields}, Types: events.Catalogue()}
}

// offerOwn lists the tenant's own types and the operator's, to choose from.
func (f *webhookForm) offerOwn(c *call) (err error) {
	f.Own, err = c.ownTypes()
	return err
}

// typeOthers shows as typed what a stored webhook asks for and the form does not list.
func (f *webhookForm) typeOthers() {
	var others []string
	for _, t := range f.Stored.Events {
		if !events.Type(t).Known() && !slices.Contains(f.Own, t) {
			others = append(others, t)
		}
	}
	f.Form.Set("patterns", strings.Join(others, " "))
}

// HeaderNames are the names of the stored headers, whose values are secrets.
func (f webhookForm) HeaderNames() []string { return slices.Sorted(maps.Keys(f.Stored.Headers)) }

// AuthTypes are the kinds of credentials.
func (webhookForm) AuthTypes() []string { return []string{"basic", "oauth2", "mtls", "creds"} }

// changes reports whether the form changes a webhook that exists.
func (f webhookForm) changes() bool { return f.ID != "" }

// put sets a field of a request. An empty value is null in a change, and absent in a creation.
func (f webhookForm) put(b map[string]any, name string, value any) {
	switch {
	case value != nil && value != "":
		b[name] = value
	case f.changes():
		b[name] = nil
	}
}

// body is the API's request. The error says what the API would not see in it.
func (f webhookForm) body() (map[string]any, error) {
	v := f.Value
	filters := map[string]any{"agent_ids": lines(v("agent_ids")), "conversation_ids": lines(v("conversation_ids")), "labels": lines(v("labels"))}
	if data := strings.TrimSpace(v("data")); data != "" {
		if !json.Valid([]byte(data)) {
			return nil, badField("body.filters.data", `is not JSON, such as {"amount": {"gte": 10}}`)
		}
		filters["data"] = json.RawMessage(data)
	}
	b := map[string]any{
		"description": v("description"), "events": append(append([]string{}, f.Form["events"]...), items(v("patterns"))...),
		"filters": filters,
	}
	if v("ordering") != "" {
		b["ordering"] = v("ordering")
	}
	f.put(b, "retry", f.retry())
	if f.Pull() {
		return b, nil
	}
	if v("url") != "" || v("kind") != "pull" {
		b["url"] = v("url")
	}
	if v("subject") != "" || f.NATS() {
		b["subject"] = v("subject")
	}
	if n := typed(v("max_in_flight")); n != "" {
		b["max_in_flight"] = n
	}
	f.put(b, "rate_limit", typed(v("rate_limit")))
	f.put(b, "timeout", typed(v("timeout")))
	f.put(b, "ca", strings.TrimSpace(v("ca")))
	if v("ed25519") != "" || f.Stored.Ed25519 {
		b["ed25519"] = v("ed25519") != ""
	}
	f.envelope(b)
	if !f.changes() {
		f.first(b)
	}
	if auth, given := f.auth(); given {
		f.put(b, "auth", auth)
	}
	return b, f.headers(b)
}

// first adds what a creation alone has.
func (f webhookForm) first(b map[string]any) {
	if kind := f.Value("kind"); kind != "" {
		b["kind"] = kind
	}
	switch f.Value("state") {
	case "paused":
		b["paused"] = true
	case "disabled":
		b["enabled"] = false
	}
	if secret := f.Value("signing_secret"); secret != "" {
		b["signing_secret"] = secret
	}
}

// retry is the retry policy; nil for the default schedule.
func (f webhookForm) retry() any {
	v := f.Value
	policy := map[string]any{"type": v("retry")}
	switch v("retry") {
	case "":
		return nil
	case "list":
		policy["delays"] = items(v("delays"))
	case "exponential":
		for _, name := range []string{"initial", "max"} {
			if text := strings.TrimSpace(v(name)); text != "" {
				policy[name] = text
			}
		}
		for _, name := range []string{"factor", "attempts"} {
			if n := typed(v(name)); n != "" {
				policy[name] = n
			}
		}
	}
	if n := typed(v("jitter")); n != "" {
		policy["jitter"] = n
	}
	if codes := items(v("final")); len(codes) > 0 {
		final := []any{}
		for _, code := range codes {
			final = append(final, typed(code))
		}
		policy["final"] = final
	}
	return policy
}

// envelope adds the form of the envelope if it differs from the stored one: a date that has passed is refused.
func (f webhookForm) envelope(b map[string]any) {
	kind, until := f.Value("envelope"), moment(f.Value("envelope_until"))
	if kind != f.Stored.envelope() {
		f.put(b, "envelope", kind)
	}
	if until != "" && kind != "" && until != f.Stored.envelopeUntil() {
		b["envelope"], b["envelope_until"] = kind, until
	}
}

// auth are the credentials, and whether the form gives any; nil for none. A secret that is left empty stays as it is.
func (f webhookForm) auth() (auth any, given bool) {
	v := f.Value
	secret := func(name string) string {
		if v(name) == "" && f.Stored.Auth != nil && f.Stored.Auth.Type == v("auth") {
			return kept
		}
		return v(name)
	}
	switch kind := v("auth"); kind {
	case "":
		return nil, false
	case "none":
		return nil, true
	case "basic":
		return map[string]any{"type": kind, "username": v("username"), "password": secret("password")}, true
	case "creds":
		return map[string]any{"type": kind, "credentials": secret("credentials")}, true
	case "oauth2":
		out := map[string]any{"type": kind, "token_url": v("token_url"), "client_id": v("client_id"), "client_secret": secret("client_secret")}
		if scopes := items(v("scopes")); len(scopes) > 0 {
			out["scopes"] = scopes
		}
		return out, true
	case "mtls":
		return map[string]any{"type": kind, "certificate": v("certificate"), "private_key": secret("private_key")}, true
	default:
		return map[string]any{"type": kind}, true
	}
}

// kept is what the API takes for a secret that stays as it is stored.
const kept = "***"

// headers adds the headers that the form gives to the stored ones that it does not remove.
func (f webhookForm) headers(b map[string]any) error {
	given := map[string]string{}
	for i, line := range lines(f.Value("headers")) {
		name, value, ok := strings.Cut(line, ":")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" || value == "" {
			return badField("body.headers", fmt.Sprintf("line %d must be a name, a colon and a value, such as X-Api-Key: secret", i+1))
		}
		for other := range given {
			if strings.EqualFold(other, name) {
				return badField("body.headers", fmt.Sprintf("line %d gives a header a second time", i+1))
			}
		}
		given[name] = value
	}
	removed := f.Form["remove_header"]
	if len(given)+len(removed) == 0 {
		return nil
	}
	all := maps.Clone(given)
	for old := range f.Stored.Headers {
		same := func(name string) bool { return strings.EqualFold(name, old) }
		if !slices.ContainsFunc(removed, same) && !slices.ContainsFunc(slices.Collect(maps.Keys(given)), same) {
			all[old] = kept
		}
	}
	b["headers"] = all
	return nil
}

// withoutSecrets is the typed form as it is shown again.
func withoutSecrets(form url.Values) url.Values {
	out := url.Values{}
	for name, v := range form {
		switch name {
		case "headers", "password", "client_secret", "private_key", "credentials", "signing_secret", "csrf":
		default:
			out[name] = v
		}
	}
	return out
}

// stored are the fields of a stored webhook.
func stored(w *webhookOf) url.Values {
	f := url.Values{
		"url": {w.URL}, "subject": {w.subject()}, "description": {w.Description}, "events": w.Events, "max_in_flight": {strconv.Itoa(w.MaxInFlight)}, "ordering": {w.Ordering},
		"agent_ids": {strings.Join(w.Filters.AgentIDs, "\n")}, "conversation_ids": {strings.Join(w.Filters.ConversationIDs, "\n")}, "labels": {strings.Join(w.Filters.Labels, "\n")},
		"data":     {strings.Join(w.Filters.Data.lines(), "\n")},
		"envelope": {w.envelope()}, "envelope_until": {w.envelopeUntil()},
	}
	if w.RateLimit != nil {
		f.Set("rate_limit", strconv.Itoa(*w.RateLimit))
	}
	if w.Timeout != nil {
		f.Set("timeout", strconv.Itoa(*w.Timeout))
	}
	if w.CA != nil {
		f.Set("ca", *w.CA)
	}
	if w.Ed25519 {
		f.Set("ed25519", "1")
	}
	if a := w.Auth; a != nil {
		for name, value := range map[string]string{"username": a.Username, "token_url": a.TokenURL, "client_id": a.ClientID, "scopes": strings.Join(a.Scopes, " "), "certificate": a.Certificate} {
			f.Set(name, value)
		}
	}
	if r := w.Retry; r != nil {
		for name, value := range map[string]string{"retry": r.Type, "delays": strings.Join(r.Delays, " "), "initial": r.Initial, "max": r.Max, "factor": r.Factor.String(), "attempts": r.Attempts.String(), "jitter": r.Jitter.String()} {
			f.Set(name, value)
		}
		f.Set("final", strings.Trim(fmt.Sprint(r.Final), "[]"))
	}
	return f
}

func (s *server) webhookFormRoutes() {
	s.get("/webhooks/new", s.newWebhook)
	s.post("/webhooks/new", s.createWebhook)
	s.get("/webhooks/{id}/edit", s.editWebhook)
	s.post("/webhooks/{id}/edit", s.changeWebhook)
}

func (s *server) newWebhook(c *call) error {
	if err := c.needs(tenancy.RoleWrite); err != nil {
		return err
	}
	f := newWebhookForm("", url.Values{"events": {string(events.EmailReceived)}})
	if err := f.offerOwn(c); err != nil {
		return err
	}
	return c.page("webhook-new", f)
}

func (s *server) createWebhook(c *call) error {
	f := newWebhookForm("", c.form())
	var out struct {
		ID            string `json:"id"`
		SigningSecret string `json:"signing_secret"`
	}
	b, err := f.body()
	if err == nil {
		err = c.send(http.MethodPost, "/v1/webhooks", b, &out)
	}
	if err != nil {
		return s.refusedForm(c, "webhook-new", f, err)
	}
	if out.SigningSecret == "" { // it is polled
		return c.redirect("/webhooks/"+url.PathEscape(out.ID), "The webhook is created.")
	}
	return c.page("webhook-secret", secretPage{ID: out.ID, Secret: out.SigningSecret})
}

// refusedForm shows a form again with what is wrong, and with what was typed.
func (s *server) refusedForm(c *call, page string, f webhookForm, err error) error {
	if !f.refuse(c, err) {
		return err
	}
	f.Form = withoutSecrets(f.Form)
	if err := f.offerOwn(c); err != nil {
		return err
	}
	return c.page(page, f)
}

func (s *server) editWebhook(c *call) error {
	if err := c.needs(tenancy.RoleWrite); err != nil {
		return err
	}
	var w webhookOf
	if err := c.get(c.webhookURL(), nil, &w); err != nil {
		return err
	}
	f := newWebhookForm(w.ID, stored(&w))
	f.Stored = w
	if err := f.offerOwn(c); err != nil {
		return err
	}
	f.typeOthers()
	return c.page("webhook-edit", f)
}

func (s *server) changeWebhook(c *call) error {
	f := newWebhookForm(c.id("id"), c.form())
	if err := c.get(c.webhookURL(), nil, &f.Stored); err != nil {
		return err
	}
	b, err := f.body()
	if err == nil {
		err = c.send(http.MethodPatch, c.webhookURL(), b, nil)
	}
	if err != nil {
		return s.refusedForm(c, "webhook-edit", f, err)
	}
	return c.redirect("/webhooks/"+url.PathEscape(c.id("id")), "The webhook is changed.")
}
