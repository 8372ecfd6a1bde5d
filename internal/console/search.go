package console

import (
	"net/url"
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/internal/mailsearch"
)

// searchPage is the data of pages/search.html.
type searchPage struct {
	Query    string
	Parts    []searchPart
	Webhooks []webhookRow
	// Part says that the query is the beginning of an id.
	Part bool
}

// searchPart is what was found in one way.
type searchPart struct {
	Words string // "Sent by", …
	// Filter and Value are the parameter of the list of events that has all of it.
	Filter, Value string
	searchedList[eventRow]
}

// found counts what there is.
func (p searchPage) found() (n int) {
	for _, part := range p.Parts {
		n += len(part.Data)
	}
	return n + len(p.Webhooks)
}

// Nothing reports whether nothing was found.
func (p searchPage) Nothing() bool { return p.found() == 0 }

// Unfinished reports whether older events have not been searched.
func (p searchPage) Unfinished() bool {
	return slices.ContainsFunc(p.Parts, func(part searchPart) bool { return part.NextCursor != nil })
}

// pathsOf are the pages of ids, by what a search is for.
var pathsOf = map[mailsearch.Kind][2]string{
	mailsearch.Event: {"/v1/events/", "/events/"}, mailsearch.Delivery: {"/v1/deliveries/", "/deliveries/"},
	mailsearch.Webhook: {"/v1/webhooks/", "/webhooks/"}, mailsearch.Replay: {"/v1/replays/", "/replays/"},
}

func (s *server) searchRoutes() { s.get("/search", s.search) }

func (s *server) search(c *call) error {
	kind, text := mailsearch.Recognize(c.query().Get("q"))
	p := searchPage{Query: text}
	if text == "" {
		return c.page("search", p)
	}
	if to, ok := pathsOf[kind]; ok {
		var one struct{ ID string }
		if err := optional(c.get(to[0]+url.PathEscape(text), nil, &one)); err != nil {
			return err
		}
		if one.ID != "" {
			return c.redirect(to[1]+url.PathEscape(text), "")
		}
		return c.page("search", p)
	}
	var err error
	switch kind {
	case mailsearch.URL:
		p.Webhooks, err = s.webhooksThat(c, func(w webhookRow) bool { return strings.Contains(strings.ToLower(w.URL), strings.ToLower(text)) })
	case mailsearch.Part:
		// A tenant's webhooks are few. To find an event by a part of its id, all events of a minute would have to be read.
		p.Part = true
		p.Webhooks, err = s.webhooksThat(c, func(w webhookRow) bool { return strings.HasPrefix(w.ID, text) })
	case mailsearch.Message:
		err = p.add(c, part("With this message", "message_id", text))
	case mailsearch.Header:
		err = p.add(c, part("With this Message-ID", "message_id_header", text))
	case mailsearch.Address:
		err = p.add(c, part("With this Message-ID", "message_id_header", text), sender(text), recipient(text))
		if err == nil && len(p.Parts[0].Data) > 0 {
			p.Parts = p.Parts[:1]
		} else if err == nil {
			p.Parts = p.Parts[1:]
		}
	case mailsearch.Domain:
		err = p.add(c, sender(text), recipient(text))
	default:
		err = p.add(c, part("With this in the subject", "subject", text))
	}
	if err != nil {
		return err
	}
	return p.show(c, kind)
}

// show leads to a single hit, and lists several.
func (p searchPage) show(c *call, kind mailsearch.Kind) error {
	if p.found() == 1 && len(p.Webhooks) == 1 {
		return c.redirect("/webhooks/"+url.PathEscape(p.Webhooks[0].ID), "")
	}
	for _, part := range p.Parts {
		if len(part.Data) == 1 && p.found() == 1 && part.NextCursor == nil {
			return c.redirect("/events/"+url.PathEscape(part.Data[0].ID), "")
		}
	}
	if kind == mailsearch.Message && p.Nothing() {
		var one struct{ ID string }
		if err := optional(c.get("/v1/messages/"+url.PathEscape(p.Query), nil, &one)); err != nil {
			return err
		}
		if one.ID != "" {
			return c.redirect("/messages/"+url.PathEscape(one.ID), "")
		}
	}
	return c.page("search", p)
}

func part(words, filter, value string) searchPart {
	return searchPart{Words: words, Filter: filter, Value: value}
}

func sender(text string) searchPart    { return part("Sent by", "from", text) }
func recipient(text string) searchPart { return part("Sent to", "to", text) }

// add searches in several ways at the same time.
func (p *searchPage) add(c *call, parts ...searchPart) error {
	reads := make([]func() error, len(parts))
	for i := range parts {
		to := &parts[i]
		reads[i] = func() error { return c.searchOn("/v1/events", url.Values{to.Filter: {to.Value}}, &to.searchedList) }
	}
	p.Parts = parts
	return together(reads...)
}

// webhookPages is how many pages of webhooks are searched.
const webhookPages = 5

// webhooksThat lists the webhooks that fit.
func (s *server) webhooksThat(c *call, fits func(webhookRow) bool) (found []webhookRow, err error) {
	query := url.Values{"limit": {"100"}}
	for range webhookPages {
		var page list[webhookRow]
		if err := c.get("/v1/webhooks", query, &page); err != nil {
			return nil, err
		}
		for _, w := range page.Data {
			if fits(w) {
				found = append(found, w)
			}
		}
		if page.NextCursor == nil {
			return found, nil
		}
		query.Set("cursor", *page.NextCursor)
	}
	return found, nil
}
