package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
	"github.com/fanmail-dev/fanmail/internal/tenancy"
)

// portalPage is the data of pages/portal.html.
type portalPage struct {
	Kind       string // the part of the page: index, webhook, delivery, event or fault
	Lang       string
	Logo       bool
	Webhooks   []portalWebhook
	Webhook    portalWebhook
	Stats      portalStats
	Deliveries list[portalDelivery]
	Delivery   portalDelivery
	Event      portalEvent
	Status     string // the filter of a webhook's deliveries
	Fault      string // a key of the catalogue
}

// T returns a text in the language of the page.
func (p portalPage) T(key string) string { return portalText(p.Lang, key) }

// When shows a time in a form that needs no translation.
func (p portalPage) When(at any) string {
	t, ok := at.(time.Time)
	if given, is := at.(*time.Time); is && given != nil {
		t, ok = *given, true
	}
	if !ok {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

type portalWebhook struct {
	ID              string     `json:"id"`
	URL             string     `json:"url"`
	Description     string     `json:"description"`
	Events          []string   `json:"events"`
	Enabled         bool       `json:"enabled"`
	LastDeliveredAt *time.Time `json:"last_delivered_at"`
	DisabledReason  *string    `json:"disabled_reason"`
}

type portalStats struct {
	Total struct {
		Delivered   int        `json:"delivered"`
		Failed      int        `json:"failed"`
		Waiting     int        `json:"waiting"`
		SuccessRate *float64   `json:"success_rate"`
		OldestDue   *time.Time `json:"oldest_due"`
	} `json:"total"`
}

type portalDelivery struct {
	ID             string          `json:"id"`
	WebhookID      string          `json:"webhook_id"`
	EventID        string          `json:"event_id"`
	EventType      string          `json:"event_type"`
	Status         string          `json:"status"`
	Attempts       int             `json:"attempts"`
	LastStatusCode *int            `json:"last_status_code"`
	LastError      *string         `json:"last_error"`
	NextRetryAt    *time.Time      `json:"next_retry_at"`
	CreatedAt      time.Time       `json:"created_at"`
	AttemptLog     []portalAttempt `json:"attempt_log"`
	Envelope       json.RawMessage `json:"envelope"`
}

type portalAttempt struct {
	Attempt    int       `json:"attempt"`
	At         time.Time `json:"at"`
	DurationMS *int64    `json:"duration_ms"`
	StatusCode int       `json:"status_code"`
	Error      *string   `json:"error"`
	Response   *string   `json:"response"`
}

type portalEvent struct {
	ID         string           `json:"id"`
	Type       string           `json:"type"`
	CreatedAt  time.Time        `json:"created_at"`
	Envelope   json.RawMessage  `json:"envelope"`
	Deliveries []portalDelivery `json:"deliveries"`
}

// Why is the last error, where it says more than the status code.
func (d portalDelivery) Why() string {
	if d.LastStatusCode == nil {
		return why(0, d.LastError)
	}
	return why(*d.LastStatusCode, d.LastError)
}

// Why is the error, where it says more than the status code.
func (a portalAttempt) Why() string { return why(a.StatusCode, a.Error) }

// Body is the envelope for people.
func (d portalDelivery) Body() string { return indented(d.Envelope) }

// Body is the envelope for people.
func (e portalEvent) Body() string { return indented(e.Envelope) }

func indented(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return string(raw)
	}
	return b.String()
}

func (s *server) portalRoutes() {
	for pattern, h := range map[string]func(*call, *tenancy.Portal) error{
		"GET /{$}":                    portalIndex,
		"GET /webhooks/{id}":          portalOneWebhook,
		"GET /deliveries/{id}":        portalOneDelivery,
		"GET /events/{id}":            portalOneEvent,
		"POST /deliveries/{id}/retry": portalRetry,
		"GET /theme.css":              portalTheme,
		"GET /logo":                   portalLogo,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		s.portal.HandleFunc(method+" "+Base+path, func(w http.ResponseWriter, r *http.Request) {
			s.serve(w, r, func(c *call) error { //nolint:contextcheck // the call has the request's
				link := r.Context().Value(doorKey{}).(door).portal
				err := h(c, link)
				var p *apiclient.Problem
				if errors.As(err, &p) {
					return c.portalFault(link, p.Status)
				}
				return err
			}, true)
		})
	}
}

// servePortal answers a request for a portal link: rest is the token and the path after it.
// The token is in the path, because browsers keep no cookies in other sites' frames.
func (s *server) servePortal(w http.ResponseWriter, r *http.Request, rest string) {
	h := w.Header()
	h.Set("Referrer-Policy", "no-referrer") // the address is the secret
	h.Set("X-Robots-Tag", "noindex")
	token, path, slash := strings.Cut(rest, "/")
	c := &call{s: s, w: w, r: r, base: Base + "/portal/" + token}
	if wait := s.guesses.spent(s.address(r), time.Now()); wait > 0 {
		h.Set("Retry-After", strconv.Itoa(max(int(math.Ceil(wait.Seconds())), 1)))
		s.portalGone(c, http.StatusTooManyRequests)
		return
	}
	link, who, err := tenancy.OpenPortal(r.Context(), s.sessions.pool, token)
	switch {
	case errors.Is(err, tenancy.ErrNoPortal):
		s.guesses.take(s.address(r), time.Now())
		s.portalGone(c, http.StatusNotFound)
		return
	case err != nil:
		c.fail(err)
		return
	}
	if len(link.Origins) > 0 {
		h.Set("Content-Security-Policy", policy+strings.Join(link.Origins, " "))
		h.Del("X-Frame-Options") // it can't name origins
		h.Del("Cross-Origin-Opener-Policy")
	}
	if !slash {
		http.Redirect(w, r, c.base+"/", http.StatusSeeOther)
		return
	}
	request := r.WithContext(withDoor(r.Context(), door{base: c.base, secret: token, who: who, portal: &link}))
	request.URL = &url.URL{Path: Base + "/" + path, RawQuery: r.URL.RawQuery}
	if _, pattern := s.portal.Handler(request); pattern == "" {
		c.base = Base + "/portal/" + token
		if c.portalFault(&link, http.StatusNotFound) != nil {
			http.Error(w, "not found", http.StatusNotFound)
		}
		return
	}
	s.portal.ServeHTTP(w, request)
}

// portalGone answers a link that does not exist, is revoked or has expired, in the language
// of the browser.
func (s *server) portalGone(c *call, status int) {
	lang := tenancy.PortalLanguages[0]
	for _, part := range strings.Split(c.r.Header.Get("Accept-Language"), ",") {
		if tag, _, _ := strings.Cut(strings.TrimSpace(part), ";"); len(tag) >= 2 && slices.Contains(tenancy.PortalLanguages, tag[:2]) {
			lang = tag[:2]
			break
		}
	}
	key := "gone"
	if status == http.StatusTooManyRequests {
		key = "too many"
	}
	c.status, c.base = status, ""
	if err := c.page("portal", portalPage{Kind: "fault", Lang: lang, Fault: key}); err != nil {
		http.Error(c.w, portalText(lang, key), status)
	}
}

// portalFault answers a request that the API refuses with the portal's own words: the API's
// words are in English and name what the link does not show.
func (c *call) portalFault(link *tenancy.Portal, status int) error {
	key := "unavailable"
	switch {
	case status == http.StatusTooManyRequests:
		key = "too many"
	case status == http.StatusConflict:
		key = "conflict"
	case status == http.StatusUnauthorized:
		key = "gone"
	case status < 500:
		key = "not found"
	}
	c.status, c.block = status, ""
	return c.portalPage(link, portalPage{Kind: "fault", Fault: key})
}

func (c *call) portalPage(link *tenancy.Portal, p portalPage) error {
	c.block = "" // the parts need the page around them
	p.Lang, p.Logo = link.Theme.Language, link.Theme.Logo != ""
	if p.Lang == "" {
		p.Lang = tenancy.PortalLanguages[0]
	}
	return c.page("portal", p)
}

func portalIndex(c *call, link *tenancy.Portal) error {
	p := portalPage{Kind: "index"}
	for _, id := range link.Webhooks {
		var w portalWebhook
		err := c.get("/v1/webhooks/"+id.String(), nil, &w)
		var problem *apiclient.Problem
		if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
			continue // it is deleted
		}
		if err != nil {
			return err
		}
		p.Webhooks = append(p.Webhooks, w)
	}
	return c.portalPage(link, p)
}

func portalOneWebhook(c *call, link *tenancy.Portal) error {
	p := portalPage{Kind: "webhook", Status: c.query().Get("status")}
	path := "/v1/webhooks/" + url.PathEscape(c.id("id"))
	if err := c.get(path, nil, &p.Webhook); err != nil {
		return err
	}
	if err := c.get("/v1/stats", url.Values{"webhook_id": {c.id("id")}, "window": {"24h"}}, &p.Stats); err != nil {
		return err
	}
	if err := c.get(path+"/deliveries", c.pick("status"), &p.Deliveries); err != nil {
		return err
	}
	return c.portalPage(link, p)
}

func portalOneDelivery(c *call, link *tenancy.Portal) error {
	p := portalPage{Kind: "delivery"}
	if err := c.get("/v1/deliveries/"+url.PathEscape(c.id("id")), nil, &p.Delivery); err != nil {
		return err
	}
	return c.portalPage(link, p)
}

func portalOneEvent(c *call, link *tenancy.Portal) error {
	p := portalPage{Kind: "event"}
	if err := c.get("/v1/events/"+url.PathEscape(c.id("id")), nil, &p.Event); err != nil {
		return err
	}
	return c.portalPage(link, p)
}

func portalRetry(c *call, link *tenancy.Portal) error {
	path := "/deliveries/" + url.PathEscape(c.id("id"))
	if err := c.send(http.MethodPost, "/v1"+path+"/retry", nil, nil); err != nil {
		return err
	}
	lang := link.Theme.Language
	return c.redirect(path, portalText(lang, "retried"))
}
