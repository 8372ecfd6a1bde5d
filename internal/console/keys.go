package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// keyOf is an API key without its secret.
type keyOf struct {
	ID            string     `json:"id"`
	Name          string     `json:"name"`
	Scopes        []string   `json:"scopes"`
	Prefix        *string    `json:"prefix"`
	Networks      []string   `json:"networks"`
	RateLimit     *int       `json:"rate_limit"`
	CreatedAt     time.Time  `json:"created_at"`
	LastUsedAt    *time.Time `json:"last_used_at"`
	ExpiresAt     *time.Time `json:"expires_at"`
	PreviousUntil *time.Time `json:"overlap_ends_at"`
}

// keysPage is the data of pages/keys.html.
type keysPage struct {
	list[keyOf]
	form
	Roles  []tenancy.Role
	Secret string // of a key that was just made or rotated
	// PreviousUntil is until when the secret before it is accepted too; nil for not at all.
	PreviousUntil *time.Time
	// Rotated is the key whose rotation was refused.
	Rotated string
}

// keyFields are the inputs of the form by the API's fields.
var keyFields = map[string]string{
	"body.name": "name", "body.scopes": "scopes", "body.expires_in": "expires_in", "body.networks": "networks", "body.rate_limit": "rate_limit",
}

func (s *server) keyRoutes() {
	s.get("/keys", s.keys)
	s.post("/keys", s.createKey)
	s.post("/keys/{id}/rotate", s.rotateKey)
	s.post("/keys/{id}/revoke", s.revokeKey)
}

func (s *server) keys(c *call) error { return s.showKeys(c, keysPage{}) }

// showKeys shows the list, with a new secret or what is wrong with a form.
func (s *server) showKeys(c *call, p keysPage) error {
	p.Roles = tenancy.Roles()
	if p.fields = keyFields; p.Rotated != "" {
		p.fields = map[string]string{"body.overlap": "overlap-" + p.Rotated}
	}
	if err := c.get("/v1/keys", c.pick(), &p.list); err != nil {
		return err
	}
	return c.page("keys", p)
}

func (s *server) createKey(c *call) error {
	if err := c.needs(tenancy.RoleAdmin); err != nil {
		return err
	}
	f := form{Form: c.form()}
	in := map[string]any{"name": f.Value("name")}
	roles := f.Form["scopes"]
	if len(roles) == 0 { // the API would make an administrator's key
		return s.refusedKey(c, keysPage{form: f}, badField("body.scopes", "choose at least one role; admin may do everything"))
	}
	in["scopes"] = roles
	if networks := items(f.Value("networks")); len(networks) > 0 {
		in["networks"] = networks
	}
	if v := strings.TrimSpace(f.Value("expires_in")); v != "" {
		in["expires_in"] = v
	}
	if n := typed(f.Value("rate_limit")); n != "" {
		in["rate_limit"] = n
	}
	var made struct {
		Secret string `json:"secret"`
	}
	if err := c.send(http.MethodPost, "/v1/keys", in, &made); err != nil {
		return s.refusedKey(c, keysPage{form: f}, err)
	}
	return s.showKeys(c, keysPage{Secret: made.Secret})
}

func (s *server) rotateKey(c *call) error {
	f := form{Form: c.form()}
	var in any
	if v := strings.TrimSpace(f.Value("overlap")); v != "" {
		in = map[string]any{"overlap": v}
	}
	var made struct {
		Secret        string     `json:"secret"`
		PreviousUntil *time.Time `json:"overlap_ends_at"`
	}
	if err := c.send(http.MethodPost, "/v1/keys/"+url.PathEscape(c.id("id"))+"/rotate", in, &made); err != nil {
		return s.refusedKey(c, keysPage{form: f, Rotated: c.id("id")}, err)
	}
	return s.showKeys(c, keysPage{Secret: made.Secret, PreviousUntil: made.PreviousUntil})
}

func (s *server) refusedKey(c *call, p keysPage, err error) error {
	if !p.refuse(c, err) {
		return err
	}
	return s.showKeys(c, p)
}

func (s *server) revokeKey(c *call) error {
	if err := c.send(http.MethodDelete, "/v1/keys/"+url.PathEscape(c.id("id")), nil, nil); err != nil {
		return s.refusedKey(c, keysPage{}, err)
	}
	return c.redirect("/keys", "The key is revoked.")
}
