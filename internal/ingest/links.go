package ingest

import (
	"slices"
	"strconv"
	"strings"

	"github.com/fanmail-dev/fanmail/events/email"
)

// mailFields read the fields that the mail itself holds, by their names in "truncated". The others of [fields] come from
// SMTP, DNS and milters.
var mailFields = map[string]func(*email.Received) any{
	"from": func(r *email.Received) any { return r.From }, "to": func(r *email.Received) any { return r.To },
	"cc": func(r *email.Received) any { return r.Cc }, "reply_to": func(r *email.Received) any { return r.ReplyTo },
	"sender": func(r *email.Received) any { return present(r.Sender) }, "resent": func(r *email.Received) any { return present(r.Resent) },
	"subject": func(r *email.Received) any { return r.Subject }, "message_id_header": func(r *email.Received) any { return r.MessageIDHeader },
	"in_reply_to": func(r *email.Received) any { return r.InReplyTo }, "references": func(r *email.Received) any { return r.References },
	"text": func(r *email.Received) any { return r.Text }, "html": func(r *email.Received) any { return r.HTML },
	"reply_text": func(r *email.Received) any { return present(r.ReplyText) }, "reply_html": func(r *email.Received) any { return present(r.ReplyHTML) },
	"list": func(r *email.Received) any { return present(r.List) }, "bounce": func(r *email.Received) any { return present(r.Bounce) },
	"complaint": func(r *email.Received) any { return present(r.Complaint) }, "calendar": func(r *email.Received) any { return present(r.Calendar) },
	"headers": func(r *email.Received) any { return r.Headers }, "attachments": func(r *email.Received) any { return r.Attachments },
}

// present is the value that a pointer points to, or nil.
func present[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// fieldURLs returns the addresses of fields in full, by name.
func fieldURLs(rawURL string, names []string) map[string]string {
	urls := make(map[string]string)
	for _, name := range names {
		if mailFields[name] != nil {
			urls[name] = strings.TrimSuffix(rawURL, "raw") + "fields/" + name
		}
	}
	return urls
}

// linked returns the attachments with the address of each. message is the address of the message.
func linked(list []email.Attachment, message string) []email.Attachment {
	out := slices.Clone(list)
	for i := range out {
		out[i].URL = message + "/attachments/" + strconv.Itoa(i)
	}
	return out
}
