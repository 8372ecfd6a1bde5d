package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// keyOf is an API key without its secret.
type keyOf struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	Scopes     []string   `json:"scopes"`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsedAt *time.Time `json:"last_used_at"`
	ExpiresAt  *time.Time `json:"expires_at"`
}

// keysPage is the data of pages/api-keys.html.
type keysPage struct {
	list[keyOf]
	Roles  []string
	Form   url.Values
	Secret string // of a key that was just made
	Faults map[string]string
}

// Value is what a field holds.
func (p keysPage) Value(name string) string { return p.Form.Get(name) }

func (s *server) keyRoutes() {
	s.get("/keys", s.keys)
	s.post("/keys", s.createKey)
	s.post("/keys/{id}/revoke", s.revokeKey)
}

func (s *server) keys(c *call) error { return s.showKeys(c, keysPage{}) }

// showKeys shows the list, with a new secret or what is wrong with a form.
func (s *server) showKeys(c *call, p keysPage) error {
	p.Roles = []string{"admin", "write", "replay", "read", "send-only"}
	if err := c.get("/v1/keys", c.pick(), &p.list); err != nil {
		return err
	}
	return c.page("keys", p)
}

func (s *server) createKey(c *call) error {
	f := c.form()
	in := map[string]any{"name": f.Get("name")}
	if roles := f["scopes"]; len(roles) > 0 {
		in["scopes"] = roles
	}
	if networks := strings.Fields(f.Get("networks")); len(networks) > 0 {
		in["networks"] = networks
	}
	if v := strings.TrimSpace(f.Get("expires_in")); v != "" {
		in["expires_in"] = v
	}
	var made struct {
		Secret string `json:"secret"`
	}
	if err := c.send(http.MethodPost, "/v1/keys", in, &made); err != nil {
		return s.refusedKey(c, err)
	}
	return s.showKeys(c, keysPage{Secret: made.Secret})
}

func (s *server) refusedKey(c *call, err error) error {
	f := faults(err)
	if f == nil {
		return err
	}
	c.status = refusal(err)
	return s.showKeys(c, keysPage{Form: c.form(), Faults: f})
}

func (s *server) revokeKey(c *call) error {
	if err := c.send(http.MethodDelete, "/v1/keys/"+url.PathEscape(c.id("id")), nil, nil); err != nil {
		return s.refusedKey(c, err)
	}
	return c.redirect("/keys", "The key is revoked.")
}
