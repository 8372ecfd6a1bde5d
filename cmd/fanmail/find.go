package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/fanmail-dev/fanmail/internal/mailsearch"
)

type eventsFind struct {
	reading
	page
	span
	Search  string `arg:"" optional:"" help:"What to find: an id of an event, a delivery or a message, a <Message-ID>, an address, an @domain, or a part of the subject."`
	Message string `help:"Only events of this message."`
	Header  string `name:"message-id" placeholder:"ID" help:"Only mails with this Message-ID."`
	From    string `help:"Only mails from this address, part of an address or name, or @domain."`
	To      string `help:"Only mails to it, likewise."`
	Subject string `help:"Only mails with this in their subject."`
	Type    string `help:"Only events of this type." predictor:"type"`
	Agent   string `help:"Only events of this agent."`
}

// Help is the end of the command's help.
func (c *eventsFind) Help() string {
	return `An address is looked for as a Message-ID, then among the senders, then among the recipients. The newest events come
first. A search for an address or a subject reads all mails from now to --since; standard error says how far it is.`
}

func (c *eventsFind) Run(ctx context.Context, s *session) error {
	api, err := c.client(s, asTenant)
	if err != nil {
		return err
	}
	var queries []url.Values
	switch kind, text := mailsearch.Recognize(c.Search); {
	case text == "":
		queries = []url.Values{{}}
	case kind == mailsearch.Event:
		return (&eventsGet{reading: c.reading, ID: text}).Run(ctx, s)
	case kind == mailsearch.Delivery:
		var delivery struct {
			EventID string `json:"event_id"`
		}
		if err := api.Do(ctx, http.MethodGet, "/v1/deliveries/"+text, nil, nil, &delivery); err != nil {
			return err
		}
		return (&eventsGet{reading: c.reading, ID: delivery.EventID}).Run(ctx, s)
	case kind == mailsearch.Message:
		queries = []url.Values{{"message_id": {text}}}
	case kind == mailsearch.Header:
		queries = []url.Values{{"message_id_header": {text}}}
	case kind == mailsearch.Address:
		queries = []url.Values{{"message_id_header": {text}}, {"from": {text}}, {"to": {text}}}
	case kind == mailsearch.Domain:
		queries = []url.Values{{"from": {text}}, {"to": {text}}}
	case kind == mailsearch.Text:
		queries = []url.Values{{"subject": {text}}}
	case kind == mailsearch.Part:
		return fmt.Errorf("%q is the beginning of an id: give the whole id, which has 32 digits after its prefix", text)
	default:
		return fmt.Errorf("%q is of no event: find an event, a delivery, a message, a Message-ID, an address or a subject", text)
	}
	return c.find(ctx, s, queries)
}

// find lists what the first of the queries finds that finds anything.
func (c *eventsFind) find(ctx context.Context, s *session, queries []url.Values) error {
	said := time.Now()
	l := listed{
		target: &c.target, role: asTenant, path: "/v1/events", page: c.page,
		columns: []column{{"ID", "id"}, {"SUBJECT", "mail.subject"}, {"FROM", "mail.from"}, {"CREATED", "created_at"}, {"TYPE", "type"}},
		passed: func(until time.Time) {
			if time.Since(said) >= time.Second {
				said = time.Now()
				s.note("searched back to " + until.Format(time.RFC3339))
			}
		},
	}
	for i, query := range queries {
		for name, v := range map[string]string{
			"message_id": c.Message, "message_id_header": c.Header, "from": c.From, "to": c.To, "subject": c.Subject, "type": c.Type, "agent_id": c.Agent,
		} {
			if v == "" {
				continue
			}
			if query.Has(name) {
				return fmt.Errorf("the search is for %s %q already; leave the flag or the argument out", name, query.Get(name))
			}
			query.Set(name, v)
		}
		query.Set("mail", "true")
		if err := c.set(query); err != nil {
			return err
		}
		if found, err := l.print(ctx, s, query, i == len(queries)-1); found || err != nil {
			return err
		}
	}
	return nil
}
