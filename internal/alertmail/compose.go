package alertmail

import (
	"bytes"
	"encoding/json"
	"fmt"
	htmltemplate "html/template"
	"io"
	"net/mail"
	"net/url"
	"strings"
	texttemplate "text/template"
	"time"
	"unicode"

	"github.com/emersion/go-message"
	gomail "github.com/emersion/go-message/mail"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/events/operational"
	"github.com/fanmail-dev/fanmail/internal/opevents"
)

const (
	// maxSubject and maxLine bound what strangers wrote, in characters.
	maxSubject = 60
	maxLine    = 300

	timeLayout = "2 January 2006 15:04 MST"
)

// content is what the templates show. The texts of strangers in it are one line each,
// without control characters.
type content struct {
	ID, Description, Target string
	Headline                string
	Lines                   []line
	Console                 string // the webhook's page; "" if there is no public URL
	From                    string
}

type line struct{ At, Text string }

// fact is the data of all the types that are mailed.
type fact struct {
	operational.About
	FailingSince   time.Time `json:"failing_since"`
	LastStatusCode int       `json:"last_status_code"`
	LastError      string    `json:"last_error"`
	Reason         string    `json:"reason"`
}

const textBody = `{{.Headline}}.

Webhook: {{.ID}}{{with .Description}}
Description: {{.}}{{end}}
Endpoint: {{.Target}}

{{range .Lines}}- {{.At}}: {{.Text}}
{{end}}{{with .Console}}
See its deliveries: {{.}}
{{end}}
There is at most one such mail a day about a webhook.
You get it because this address was given for alerts. To get no more of
them, write to {{.From}}.
`

const htmlBody = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{{.Headline}}</title></head>
<body style="font-family: sans-serif; line-height: 1.5">
<p><strong>{{.Headline}}.</strong></p>
<p>Webhook: <code>{{.ID}}</code>{{with .Description}}<br>Description: {{.}}{{end}}<br>Endpoint: <code>{{.Target}}</code></p>
<ul>{{range .Lines}}<li>{{.At}}: {{.Text}}</li>{{end}}</ul>
{{with .Console}}<p><a href="{{.}}">See its deliveries</a></p>{{end}}
<p><small>There is at most one such mail a day about a webhook. You get it because this address was given for alerts.
To get no more of them, write to {{.From}}.</small></p>
</body></html>
`

var (
	asText = texttemplate.Must(texttemplate.New("text").Parse(textBody))
	asHTML = htmltemplate.Must(htmltemplate.New("html").Parse(htmlBody))
)

// composer makes mails.
type composer struct {
	from      *mail.Address
	publicURL string // "" for none
}

// compose returns the bytes of a mail to some addresses.
func (c *composer) compose(m *opevents.Mail, to []string, now time.Time) ([]byte, error) {
	shown, subject, err := c.content(m)
	if err != nil {
		return nil, err
	}
	var h gomail.Header
	h.SetAddressList("From", []*gomail.Address{{Name: c.from.Name, Address: c.from.Address}})
	list := make([]*gomail.Address, len(to))
	for i, a := range to {
		list[i] = &gomail.Address{Address: a}
	}
	h.SetAddressList("To", list)
	h.SetSubject(subject)
	h.SetDate(now)
	h.SetMessageID(c.messageID(m))
	// RFC 3834 and Exchange: no vacation notice answers, and mail programs such as our own see what it is.
	h.Set("Auto-Submitted", "auto-generated")
	h.Set("X-Auto-Response-Suppress", "All")
	h.Set("List-Unsubscribe", "<mailto:"+c.from.Address+"?subject=unsubscribe>")
	var b bytes.Buffer
	w, err := gomail.CreateInlineWriter(&b, h)
	if err != nil {
		return nil, fmt.Errorf("compose a mail: %w", err)
	}
	for _, part := range []struct {
		kind string
		run  func(io.Writer, any) error
	}{{"text/plain", asText.Execute}, {"text/html", asHTML.Execute}} {
		if err := writePart(w, part.kind, part.run, shown); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("compose a mail: %w", err)
	}
	return b.Bytes(), nil
}

func writePart(w *gomail.InlineWriter, kind string, run func(io.Writer, any) error, shown *content) error {
	var h message.Header
	h.SetContentType(kind, map[string]string{"charset": "utf-8"})
	part, err := w.CreatePart(gomail.InlineHeader{Header: h})
	if err != nil {
		return fmt.Errorf("compose a mail: %w", err)
	}
	if err := run(part, shown); err != nil {
		return fmt.Errorf("compose a mail: %w", err)
	}
	if err := part.Close(); err != nil {
		return fmt.Errorf("compose a mail: %w", err)
	}
	return nil
}

// messageID is the same when the mail is sent again, so that a mailbox shows it once.
func (c *composer) messageID(m *opevents.Mail) string {
	_, domain, _ := strings.Cut(c.from.Address, "@")
	return fmt.Sprintf("alert-%s-%d@%s", m.WebhookID, m.Last().ID, domain)
}

func (c *composer) content(m *opevents.Mail) (*content, string, error) {
	out := &content{ID: m.WebhookID.String(), From: c.from.Address}
	var about fact
	for i := range m.Facts {
		f := &m.Facts[i]
		about = fact{}
		if err := json.Unmarshal(f.Data, &about); err != nil {
			return nil, "", fmt.Errorf("read what a mail is about: %w", err)
		}
		out.Lines = append(out.Lines, line{At: f.At.UTC().Format(timeLayout), Text: about.text(f.Type)})
	}
	out.Description, out.Target = oneLine(about.WebhookDescription, maxLine), oneLine(endpoint(about.WebhookURL), maxLine)
	what := map[events.Type]string{
		events.WebhookFailing: "is failing", events.WebhookDisabled: "is disabled", events.WebhookRecovered: "works again",
	}[m.Last().Type]
	name := out.Description
	if name == "" {
		name = out.Target
	}
	out.Headline = "A webhook " + what
	if c.publicURL != "" {
		out.Console = strings.TrimRight(c.publicURL, "/") + "/console/webhooks/" + m.WebhookID.String()
	}
	return out, out.Headline + ": " + oneLine(name, maxSubject), nil
}

// text says what happened, as the rest of a line.
func (f *fact) text(t events.Type) string {
	switch t {
	case events.WebhookFailing:
		return fmt.Sprintf("no delivery has succeeded since %s. The last attempt: %s.", f.FailingSince.UTC().Format(timeLayout), oneLine(f.LastError, maxLine))
	case events.WebhookDisabled:
		return "it was disabled: " + oneLine(f.Reason, maxLine) + ". It gets no events until somebody enables it."
	case events.WebhookRecovered:
		return "a delivery has succeeded again."
	default:
		return string(t)
	}
}

// endpoint is a URL without user, path and query, all of which may hold a token.
func endpoint(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not shown)"
	}
	return u.Scheme + "://" + u.Host
}

// oneLine is a stranger's text in a mail: without control characters and what reorders
// or hides others, and bounded.
func oneLine(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r), r == unicode.ReplacementChar:
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, ""))
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > limit {
		return string(runes[:limit-1]) + "…"
	}
	return string(runes)
}
