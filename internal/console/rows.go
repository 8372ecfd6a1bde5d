package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/fanmail-dev/fanmail/internal/apiclient"
)

// Events and deliveries as the API has them, for the pages that show them.

// maxShown bounds the bytes of a text that are shown; the whole can be downloaded.
const maxShown = 64 << 10

// cutText is the beginning of a text that may be long.
type cutText struct {
	Text string
	Cut  bool
}

// shownText returns the beginning of a text as valid UTF-8.
func shownText(s string, most int) cutText {
	cut := len(s) > most
	if cut {
		s = s[:most]
	}
	return cutText{Text: strings.ToValidUTF8(s, "\uFFFD"), Cut: cut}
}

// eventRow is an event in a list.
type eventRow struct {
	ID             string    `json:"id"`
	Type           string    `json:"type"`
	CreatedAt      time.Time `json:"created_at"`
	AgentID        *string   `json:"agent_id"`
	ConversationID *string   `json:"conversation_id"`
	MessageID      *string   `json:"message_id"`
	Labels         []string  `json:"labels"`
	Mail           *struct {
		From    *string `json:"from"`
		Subject *string `json:"subject"`
	} `json:"mail"`
}

// line is a text of a mail on a line of a list; empty for none.
func line(s *string) string {
	if s == nil {
		return ""
	}
	if cut := shownText(*s, 120); cut.Cut {
		return cut.Text + "…"
	}
	return *s
}

// Start is the start of the id.
func (r eventRow) Start() string {
	if len(r.ID) > 16 {
		return r.ID[:16] + "…"
	}
	return r.ID
}

// Sender is who sent the event's mail.
func (r eventRow) Sender() string {
	if r.Mail == nil {
		return ""
	}
	return line(r.Mail.From)
}

// Subject is the subject of the event's mail.
func (r eventRow) Subject() string {
	if r.Mail == nil {
		return ""
	}
	return line(r.Mail.Subject)
}

// OwnMessage reports whether the event's message may be one that is kept here. Producers choose their own ids.
func (r eventRow) OwnMessage() bool {
	return r.MessageID != nil && strings.HasPrefix(*r.MessageID, "msg_")
}

// searchedList is a list that says how far back it has been searched.
type searchedList[T any] struct {
	list[T]
	SearchedUntil *time.Time `json:"searched_until"`
}

// within are the periods that a form offers, by the parameter "within".
var within = []struct {
	Name, Words string
	length      time.Duration
}{{"", "Any time", 0}, {"1h", "Last hour", time.Hour}, {"24h", "Last 24 hours", 24 * time.Hour}, {"168h", "Last 7 days", 7 * 24 * time.Hour}}

// since puts the start of a chosen period into a query of the API, unless it has one.
func since(query url.Values, chosen string) {
	for _, w := range within {
		if w.Name == chosen && w.length > 0 && !query.Has("since") {
			query.Set("since", time.Now().Add(-w.length).UTC().Format(time.RFC3339))
		}
	}
}

// passFor is for how long pages of the API without a row are passed before one is shown: the next page continues.
const passFor = 40 * time.Millisecond

// searchOn reads a list of the API, and passes pages on which the filters match nothing.
func (c *call) searchOn(path string, query url.Values, into *searchedList[eventRow]) error {
	query.Set("mail", "true")
	for began := time.Now(); ; {
		*into = searchedList[eventRow]{}
		if err := c.get(path, query, into); err != nil {
			return err
		}
		if len(into.Data) > 0 || into.NextCursor == nil || time.Since(began) > passFor {
			return nil
		}
		query.Set("cursor", *into.NextCursor)
	}
}

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

// optional drops the error of a read that this session may not make, or that finds nothing: a delivery that is polled has
// no request.
func optional(err error) error {
	var p *apiclient.Problem
	if errors.As(err, &p) && (p.Status == http.StatusNotFound || p.Status == http.StatusConflict || p.Status == http.StatusForbidden || p.Status == http.StatusServiceUnavailable || p.Status == http.StatusBadGateway) {
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

// Why is the error, where it says more than the status code.
func (a attemptRow) Why() string { return why(a.StatusCode, a.Error) }

// why is an error beside the status code, empty if it only repeats the code.
func why(code int, text *string) string {
	if text == nil || code != 0 && *text == "answered "+strconv.Itoa(code) {
		return ""
	}
	return *text
}

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

// Label says why the delivery was sent, if not because its event came. A redelivery on request is of the kind replay too.
func (d deliveryOf) Label() string {
	switch d.Kind {
	case "live":
		return ""
	case "replay":
		return "sent again"
	}
	return d.Kind
}

// Tone is the class of the delivery in a timeline.
func (d deliveryOf) Tone() string { return tones[d.Status] }

// Waits reports whether the delivery waits for its first attempt or for a retry.
func (d deliveryOf) Waits() bool { return d.Status == "pending" }
