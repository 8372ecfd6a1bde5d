package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

// rawJSON is JSON as it came.
type rawJSON struct{ bytes []byte }

// UnmarshalJSON keeps the bytes; null is none.
func (r *rawJSON) UnmarshalJSON(b []byte) error {
	r.bytes = nil
	if !bytes.Equal(b, []byte("null")) {
		r.bytes = bytes.Clone(b)
	}
	return nil
}

// indented is the JSON, laid out for people.
func (r rawJSON) indented() string {
	var b bytes.Buffer
	if json.Indent(&b, r.bytes, "", "  ") != nil {
		return string(r.bytes)
	}
	return b.String()
}

// optional drops the error of a read that this session may not make, or that finds nothing.
func optional(err error) error {
	var p *apiclient.Problem
	if errors.As(err, &p) && (p.Status == http.StatusNotFound || p.Status == http.StatusForbidden || p.Status == http.StatusServiceUnavailable || p.Status == http.StatusBadGateway) {
		return nil
	}
	return err
}

// attemptRow is one POST of a delivery.
type attemptRow struct {
	Attempt    int       `json:"attempt"`
	At         time.Time `json:"at"`
	DurationMS *int64    `json:"duration_ms"`
	StatusCode int       `json:"status_code"`
	Reason     string    `json:"reason"`
	Error      *string   `json:"error"`
	Response   *string   `json:"response"`
}

// OK reports whether the endpoint took it.
func (a attemptRow) OK() bool { return a.Reason == "ok" }

// ShownResponse is the beginning of the response that the API has.
func (a attemptRow) ShownResponse() string {
	if a.Response == nil {
		return ""
	}
	return shownText(*a.Response, 4<<10).Text
}

// deliveryOf is a delivery, with its attempts if they have been read.
type deliveryOf struct {
	ID             string       `json:"id"`
	WebhookID      string       `json:"webhook_id"`
	EventID        string       `json:"event_id"`
	EventType      string       `json:"event_type"`
	MessageID      *string      `json:"message_id"`
	Kind           string       `json:"kind"`
	ReplayID       *string      `json:"replay_id"`
	Status         string       `json:"status"`
	Attempts       int          `json:"attempts"`
	MaxAttempts    int          `json:"max_attempts"`
	LastStatusCode *int         `json:"last_status_code"`
	LastError      *string      `json:"last_error"`
	LastAttemptAt  *time.Time   `json:"last_attempt_at"`
	NextRetryAt    *time.Time   `json:"next_retry_at"`
	CreatedAt      time.Time    `json:"created_at"`
	FinishedAt     *time.Time   `json:"finished_at"`
	ExpiresAt      time.Time    `json:"expires_at"`
	AttemptLog     []attemptRow `json:"attempt_log"`
}

// Tone is the class of the delivery in a timeline.
func (d deliveryOf) Tone() string { return tones[d.Status] }

// Waits reports whether the delivery waits for its first attempt or for a retry.
func (d deliveryOf) Waits() bool { return d.Status == "pending" }

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

func (s *server) deliveries(c *call) error {
	query := c.pick("status", "event_type", "webhook_id", "since", "until")
	since(query, c.query().Get("within"))
	p := deliveriesPage{Filters: c.query(), Within: within, Statuses: []string{"pending", "delivered", "failed"}}
	for range searchPages {
		p.list = list[deliveryOf]{}
		if err := c.get("/v1/deliveries", query, &p); err != nil {
			return err
		}
		if len(p.Data) > 0 || p.NextCursor == nil {
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
	if c.block == "" {
		p.Request = &requestOf{}
		if err := optional(c.get("/v1/deliveries/"+id+"/request", nil, p.Request)); err != nil {
			return err
		}
		if p.Request.Method == "" {
			p.Request = nil
		}
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
