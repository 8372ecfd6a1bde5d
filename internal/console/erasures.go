package console

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// erasureOf is an erasure.
type erasureOf struct {
	ID          string           `json:"id"`
	Kind        string           `json:"kind"`
	MessageID   *string          `json:"message_id"`
	State       string           `json:"state"`
	RequestedAt time.Time        `json:"requested_at"`
	RequestedBy string           `json:"requested_by"`
	FinishedAt  *time.Time       `json:"finished_at"`
	Removed     map[string]int64 `json:"removed"`
	NotSearched int64            `json:"not_searched"`
}

// removedRow is how many of something an erasure has removed.
type removedRow struct {
	What string
	N    int64
}

// Counts are what was removed, by name.
func (e erasureOf) Counts() (out []removedRow) {
	for _, name := range slices.Sorted(maps.Keys(e.Removed)) {
		out = append(out, removedRow{strings.ReplaceAll(name, "_", " "), e.Removed[name]})
	}
	return out
}

// erasuresPage is the data of pages/erasures.html.
type erasuresPage struct {
	list[erasureOf]
	form
}

func (s *server) erasureRoutes() {
	s.get("/erasures", func(c *call) error { return s.showErasures(c, erasuresPage{}) })
	s.post("/erasures", s.createErasure)
	s.post("/messages/{id}/delete", s.deleteMessage)
}

// showErasures shows the list, with what is wrong with the form.
func (s *server) showErasures(c *call, p erasuresPage) error {
	p.fields = map[string]string{"body.address": "address"}
	if err := c.get("/v1/erasures", c.pick(), &p.list); err != nil {
		return err
	}
	return c.page("erasures", p)
}

func (s *server) createErasure(c *call) error {
	p := erasuresPage{form: form{Form: c.form()}}
	if err := c.send(http.MethodPost, "/v1/erasures", map[string]any{"address": strings.TrimSpace(p.Value("address"))}, nil); err != nil {
		if !p.refuse(c, err) {
			return err
		}
		return s.showErasures(c, p)
	}
	return c.redirect("/erasures", "The mail from and to the address is being erased.")
}

func (s *server) deleteMessage(c *call) error {
	if err := c.send(http.MethodDelete, "/v1/messages/"+url.PathEscape(c.id("id")), nil, nil); err != nil {
		return err
	}
	return c.redirect("/erasures", "The message is being erased.")
}
