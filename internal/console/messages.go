package console

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// messagePage is the data of pages/message.html.
type messagePage struct {
	ID        string          `json:"id"`
	AgentID   string          `json:"agent_id"`
	EventID   string          `json:"event_id"`
	CreatedAt time.Time       `json:"created_at"`
	Size      int64           `json:"size"`
	Message   json.RawMessage `json:"message"`
	Delivery  *struct {
		Status      string     `json:"status"`
		Attempts    int        `json:"attempts"`
		LastError   *string    `json:"last_error"`
		NextRetryAt *time.Time `json:"next_retry_at"`
	} `json:"delivery"`

	Mail *mailView
	Raw  *rawMail
}

func (s *server) messageRoutes() {
	s.get("/messages/{id}", s.message)
	s.get("/messages/{id}/raw", s.messageRaw)
	s.get("/messages/{id}/attachments/{n}", s.messageAttachment)
}

func (s *server) message(c *call) error {
	var p messagePage
	id := url.PathEscape(c.id("id"))
	if err := c.get("/v1/messages/"+id, nil, &p); err != nil {
		return err
	}
	p.Mail = mailOf(p.Message)
	text, more, err := c.begin("/v1/messages/"+id+"/raw", rawShown)
	if err = optional(err); err != nil {
		return err
	}
	if text != nil {
		p.Raw = &rawMail{Text: shownText(string(text), rawShown), Size: p.Size}
		p.Raw.Text.Cut = more
	}
	return c.page("message", p)
}

func (s *server) messageRaw(c *call) error {
	id := c.id("id")
	return c.sendFile("/v1/messages/"+url.PathEscape(id)+"/raw", nil, id+".eml")
}

// messageAttachment sends an attachment under the name that the mail gives it.
func (s *server) messageAttachment(c *call) error {
	id := url.PathEscape(c.id("id"))
	n, err := strconv.Atoi(c.id("n"))
	if err != nil || n < 0 {
		return refused(http.StatusNotFound, "The message has no such attachment.")
	}
	var p messagePage
	if err := c.get("/v1/messages/"+id, nil, &p); err != nil {
		return err
	}
	name := "attachment-" + strconv.Itoa(n)
	if m := mailOf(p.Message); m != nil && n < len(m.Attachments) && m.Attachments[n].Filename != "" {
		name = fileName(m.Attachments[n].Filename)
	}
	return c.sendFile("/v1/messages/"+id+"/attachments/"+strconv.Itoa(n), nil, name)
}
