package console

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// bulkRetryPage is the data of pages/webhook-retry.html.
type bulkRetryPage struct {
	webhookOf
	form
}

// bulkRetryFields are the inputs of a bulk retry by the API's fields.
var bulkRetryFields = map[string]string{"body.since": "since", "body.until": "until", "body.event_type": "event_type"}

// defaultWindow is how far back a bulk retry reaches unless another window is chosen.
const defaultWindow = "168h"

func (s *server) bulkRetryRoutes() {
	s.get("/webhooks/{id}/retry", s.bulkRetry)
	s.post("/webhooks/{id}/retry", s.retryFailed)
}

func (s *server) bulkRetry(c *call) error {
	if err := c.needs(tenancy.RoleReplay); err != nil {
		return err
	}
	return s.showBulkRetry(c, form{Form: c.query()})
}

// showBulkRetry asks for the window, with what is wrong with the chosen one.
func (s *server) showBulkRetry(c *call, f form) error {
	f.fields = bulkRetryFields
	if f.Value("since") == "" {
		f.Form.Set("since", defaultWindow)
	}
	p := bulkRetryPage{form: f}
	if err := c.get(c.webhookURL(), nil, &p.webhookOf); err != nil {
		return err
	}
	return c.page("webhook-retry", p)
}

func (s *server) retryFailed(c *call) error {
	f := form{Form: c.form()}
	in := map[string]any{"since": moment(defaultWindow)}
	again := url.Values{}
	for _, name := range []string{"since", "until", "event_type"} {
		if text := strings.TrimSpace(f.Value(name)); text != "" {
			if name != "event_type" {
				text = moment(text)
			}
			in[name] = text
			again.Set(name, text)
		}
	}
	var out struct {
		Retried    int     `json:"retried"`
		NextCursor *string `json:"next_cursor"`
	}
	if err := c.send(http.MethodPost, c.webhookURL()+"/retry", in, &out); err != nil {
		if !f.refuse(c, err) || c.status == http.StatusNotFound {
			return err
		}
		return s.showBulkRetry(c, f)
	}
	to := "/webhooks/" + url.PathEscape(c.id("id"))
	done := fmt.Sprintf("%d deliveries are pending again.", out.Retried)
	if out.Retried == 0 {
		done = "No delivery of this window has failed. Pending ones do not count: they are attempted again by themselves."
	}
	if out.NextCursor != nil {
		return c.redirect(to+"/retry?"+again.Encode(), done+" There are more: retry again.")
	}
	return c.redirect(to, done)
}
