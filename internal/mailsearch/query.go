package mailsearch

import (
	"strings"

	"github.com/fanmail-dev/fanmail/events"
)

// Kind is what the text of a search box is.
type Kind int

// The kinds. Text is neither an id nor an address: a part of a subject.
const (
	Text Kind = iota
	Event
	Delivery
	Message
	Webhook
	Replay
	Header  // a Message-ID in angle brackets
	Address // an address, or a Message-ID without them
	Domain  // "@" and a domain
	URL     // of a webhook
)

// Recognize returns what a search is for, and its text in the form in which it is looked up: ids in lower case.
func Recognize(search string) (Kind, string) {
	search = strings.TrimSpace(search)
	for _, id := range []struct {
		kind  Kind
		parse func(string) (string, bool)
	}{
		{Event, parsed[events.EventKind]},
		{Delivery, parsed[events.DeliveryKind]},
		{Message, parsed[events.MessageKind]},
		{Webhook, parsed[events.WebhookKind]},
		{Replay, parsed[events.ReplayKind]},
	} {
		if text, ok := id.parse(search); ok {
			return id.kind, text
		}
	}
	switch at := strings.LastIndexByte(search, '@'); {
	case strings.HasPrefix(search, "https://") || strings.HasPrefix(search, "http://"):
		return URL, search
	case at < 0 || strings.ContainsAny(search, " \t\r\n") && !strings.HasPrefix(search, "<"):
		return Text, search
	case strings.HasPrefix(search, "<"):
		return Header, MessageID(search)
	case at == 0:
		return Domain, search
	}
	return Address, search
}

func parsed[K events.Kind](s string) (string, bool) {
	id, err := events.Parse[K](strings.ToLower(s))
	return id.String(), err == nil
}
