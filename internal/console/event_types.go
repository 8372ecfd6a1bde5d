package console

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// typeOf is an event type.
type typeOf struct {
	Name        string          `json:"name"`
	Source      string          `json:"source"`
	Description string          `json:"description"`
	Deprecated  bool            `json:"deprecated"`
	Validated   bool            `json:"validated"`
	HasSample   bool            `json:"has_sample"`
	Schema      json.RawMessage `json:"schema"`
	Sample      json.RawMessage `json:"sample"`
	UpdatedAt   *time.Time      `json:"updated_at"`
}

// ShownSchema is the schema for people; empty for none.
func (t typeOf) ShownSchema() string { return pretty(t.Schema) }

// ShownSample is the sample for people; empty for none.
func (t typeOf) ShownSample() string { return pretty(t.Sample) }

// From says who has made the type.
func (t typeOf) From() string {
	return map[string]string{"built_in": "built in", "operator": "for all tenants", "tenant": "own"}[t.Source]
}

func pretty(raw json.RawMessage) string {
	var b bytes.Buffer
	if len(raw) == 0 || string(raw) == "null" || json.Indent(&b, raw, "", "  ") != nil {
		return ""
	}
	return b.String()
}

// typeFields are the inputs of a type's form by the API's fields.
var typeFields = map[string]string{"body.name": "name", "body.description": "description", "body.schema": "schema", "body.sample": "sample"}

// typesPage is the data of pages/event-types.html.
type typesPage struct {
	list[typeOf]
	form
}

// typePage is the data of pages/event-type.html.
type typePage struct {
	typeOf
	form
	Changes bool // the caller may change it
}

func (s *server) eventTypeRoutes() {
	s.get("/event-types", s.eventTypes)
	s.post("/event-types", s.createEventType)
	s.get("/event-types/{name}", s.eventType)
	s.post("/event-types/{name}", s.changeEventType)
	s.post("/event-types/{name}/delete", s.deleteEventType)
}

func (s *server) eventTypes(c *call) error {
	return s.showTypes(c, typesPage{form: form{fields: typeFields}})
}

// showTypes shows the list, with what is wrong with a form.
func (s *server) showTypes(c *call, p typesPage) error {
	q := c.pick()
	q.Set("limit", "100")
	if err := c.get("/v1/event-types", q, &p.list); err != nil {
		return err
	}
	return c.page("event-types", p)
}

// typeBody is the API's request with the fields of a form. The error says what the API would not see in it.
func typeBody(f form, changes bool) (map[string]any, error) {
	b := map[string]any{"description": f.Value("description")}
	for _, name := range []string{"schema", "sample"} {
		switch text := strings.TrimSpace(f.Value(name)); {
		case text != "" && !json.Valid([]byte(text)):
			return nil, badField("body."+name, "is not JSON")
		case text != "":
			b[name] = json.RawMessage(text)
		case changes:
			b[name] = nil
		}
	}
	if changes {
		b["deprecated"] = f.Value("deprecated") != ""
	} else {
		b["name"] = strings.TrimSpace(f.Value("name"))
	}
	return b, nil
}

func (s *server) createEventType(c *call) error {
	p := typesPage{form: form{Form: c.form(), fields: typeFields}}
	b, err := typeBody(p.form, false)
	if err == nil {
		err = c.send(http.MethodPost, "/v1/event-types", b, nil)
	}
	if err != nil {
		if !p.refuse(c, err) {
			return err
		}
		return s.showTypes(c, p)
	}
	return c.redirect("/event-types/"+url.PathEscape(p.Value("name")), "The event type is created.")
}

func (c *call) typeURL() string { return "/v1/event-types/" + url.PathEscape(c.id("name")) }

func (s *server) eventType(c *call) error {
	return s.showType(c, typePage{form: form{fields: typeFields}})
}

// showType shows a type, with what is wrong with a form.
func (s *server) showType(c *call, p typePage) error {
	if err := c.get(c.typeURL(), nil, &p.typeOf); err != nil {
		return err
	}
	own := "tenant"
	if c.operator() {
		own = "operator"
	}
	p.Changes = p.Source == own && c.may(tenancy.RoleWrite)
	if p.Form == nil {
		p.Form = url.Values{"description": {p.Description}, "schema": {p.ShownSchema()}, "sample": {p.ShownSample()}}
		if p.Deprecated {
			p.Form.Set("deprecated", "1")
		}
	}
	return c.page("event-type", p)
}

func (s *server) changeEventType(c *call) error {
	p := typePage{form: form{Form: c.form(), fields: typeFields}}
	b, err := typeBody(p.form, true)
	if err == nil {
		err = c.send(http.MethodPatch, c.typeURL(), b, nil)
	}
	if err != nil {
		return s.refusedType(c, p, err)
	}
	return c.redirect("/event-types/"+url.PathEscape(c.id("name")), "The event type is changed.")
}

func (s *server) refusedType(c *call, p typePage, err error) error {
	if !p.refuse(c, err) {
		return err
	}
	return s.showType(c, p)
}

func (s *server) deleteEventType(c *call) error {
	if err := c.send(http.MethodDelete, c.typeURL(), nil, nil); err != nil {
		return s.refusedType(c, typePage{form: form{fields: typeFields}}, err)
	}
	return c.redirect("/event-types", "The event type is deleted.")
}

// ownTypes are the names of up to 200 types that are not built in, for a form. The others can be typed.
func (c *call) ownTypes() ([]string, error) {
	var names []string
	for _, source := range []string{"tenant", "operator"} {
		var found list[typeOf]
		if err := c.get("/v1/event-types", url.Values{"source": {source}, "limit": {"100"}}, &found); err != nil {
			return nil, err
		}
		for _, t := range found.Data {
			names = append(names, t.Name)
		}
	}
	return names, nil
}
