package console

import (
	"net/http"
	"net/url"
	"strings"
	"time"
)

// deliveriesPage is the data of pages/deliveries.html.
type deliveriesPage struct {
	list[deliveryOf]
	SearchedUntil *time.Time `json:"searched_until"`
	Filters       url.Values
	Within        any
	Statuses      []string
}

// Value is the value of a filter.
func (p deliveriesPage) Value(name string) string { return p.Filters.Get(name) }

func (s *server) deliveryRoutes() {
	s.watch("/deliveries", s.deliveries)
	s.watch("/deliveries/{id}", s.delivery)
	s.get("/deliveries/{id}/body", s.deliveryBody)
	s.post("/deliveries/{id}/retry", s.retryDelivery)
}

func (s *server) deliveries(c *call) error {
	query := c.pick("status", "event_type", "webhook_id", "since", "until")
	since(query, c.query().Get("within"))
	p := deliveriesPage{Filters: c.query(), Within: within, Statuses: []string{"pending", "delivered", "failed"}}
	for began := time.Now(); ; {
		p.list = list[deliveryOf]{}
		if err := c.get("/v1/deliveries", query, &p); err != nil {
			return err
		}
		if len(p.Data) > 0 || p.NextCursor == nil || time.Since(began) > passFor {
			break
		}
		query.Set("cursor", *p.NextCursor)
	}
	return c.page("deliveries", p)
}

// requestOf is the request of an attempt.
type requestOf struct {
	Method   string
	URL      string
	Subject  *string
	Attempt  int
	At       time.Time
	Headers  []struct{ Name, Value string }
	Body     *string
	Envelope *string
	Deleted  bool `json:"webhook_deleted"`
}

// deliveryPage is the data of pages/delivery.html.
type deliveryPage struct {
	deliveryOf
	Request  *requestOf
	Snippets []snippet
}

// ShownBody is the beginning of the body.
func (r *requestOf) ShownBody() cutText {
	if r.Body == nil {
		return cutText{}
	}
	return shownText(*r.Body, maxShown)
}

// Size is the length of the body.
func (r *requestOf) Size() int {
	if r.Body == nil {
		return 0
	}
	return len(*r.Body)
}

// quoted is a word of a POSIX shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// computed are the headers that the command computes anew, and those that curl sets.
var computed = map[string]bool{
	"Webhook-Timestamp": true, "Webhook-Signature": true, "X-E2a-Signature": true, "Webhook-Id": true, "Content-Length": true,
}

// Curl is a command that sends the request again from a shell, signed with the secret in $SECRET.
func (r *requestOf) Curl() string {
	id := ""
	var b strings.Builder
	for _, h := range r.Headers {
		if h.Name == "Webhook-Id" {
			id = h.Value
		}
		if !computed[h.Name] {
			b.WriteString("  -H " + quoted(h.Name+": "+h.Value) + " \\\n")
		}
	}
	return "SECRET='whsec_…'   # the webhook's signing secret\n" +
		"BODY=body.json     # the body, downloaded from this page\n" +
		"ID=" + quoted(id) + "\n" +
		"TIME=$(date +%s)\n" +
		"KEY=$(printf %s \"${SECRET#whsec_}\" | base64 -d | od -An -vtx1 | tr -d ' \\n')\n" +
		"SIGNATURE=$({ printf '%s.%s.' \"$ID\" \"$TIME\"; cat \"$BODY\"; } | openssl dgst -sha256 -mac HMAC -macopt hexkey:\"$KEY\" -binary | base64)\n" +
		"curl -i " + quoted(r.URL) + " \\\n" + b.String() +
		"  -H \"Webhook-Id: $ID\" -H \"Webhook-Timestamp: $TIME\" -H \"Webhook-Signature: v1,$SIGNATURE\" \\\n" +
		"  --data-binary @\"$BODY\""
}

func (s *server) delivery(c *call) error {
	p := deliveryPage{Snippets: snippets}
	id := url.PathEscape(c.id("id"))
	if err := c.get("/v1/deliveries/"+id, nil, &p.deliveryOf); err != nil {
		return err
	}
	if p.ReplayID != nil { // a redelivery on request has the id of no replay
		var replay struct{ ID *string }
		if err := optional(c.get("/v1/replays/"+url.PathEscape(*p.ReplayID), nil, &replay)); err != nil {
			return err
		}
		p.ReplayID = replay.ID
	}
	p.Request = &requestOf{}
	if err := optional(c.get("/v1/deliveries/"+id+"/request", nil, p.Request)); err != nil {
		return err
	}
	if p.Request.Method == "" {
		p.Request = nil
	}
	return c.page("delivery", p)
}

func (s *server) deliveryBody(c *call) error {
	var r requestOf
	if err := c.get("/v1/deliveries/"+url.PathEscape(c.id("id"))+"/request", nil, &r); err != nil {
		return err
	}
	if r.Body == nil {
		return refused(http.StatusNotFound, "The event has expired, and the body with it.")
	}
	return c.sendBytes([]byte(*r.Body), "body.json")
}

func (s *server) retryDelivery(c *call) error {
	id := url.PathEscape(c.id("id"))
	if err := c.send(http.MethodPost, "/v1/deliveries/"+id+"/retry", nil, nil); err != nil {
		return err
	}
	to := "/deliveries/" + id
	if event := c.form().Get("event_id"); event != "" {
		to = "/events/" + url.PathEscape(event)
	}
	return c.redirect(to, "The delivery is due now.")
}
