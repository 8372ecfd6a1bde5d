package mailsearch

import (
	"strconv"
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
	URL     // of a webhook, or its host with a port
	Part    // the beginning of an id, as a list shows it
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
	if text, ok := begins(search); ok {
		return Part, text
	}
	switch at := strings.LastIndexByte(search, '@'); {
	case strings.HasPrefix(search, "https://") || strings.HasPrefix(search, "http://"), hostPort(search):
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

// hostPort reports whether a text is a host and a port, with or without a path.
func hostPort(search string) bool {
	authority, _, _ := strings.Cut(search, "/")
	i := strings.LastIndexByte(authority, ':')
	if i < 1 {
		return false
	}
	host, port := authority[:i], authority[i+1:]
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return false
	}
	named := strings.Trim(strings.ToLower(host), "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
	return named && (strings.Contains(host, ".") || host == "localhost") || strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]")
}

// leastDigits is how many digits after a prefix make a text the beginning of an id.
const leastDigits = 4

// begins recognizes the beginning of an id, also with the dots of a list that cuts ids.
func begins(search string) (string, bool) {
	text := strings.ToLower(strings.TrimRight(search, "…."))
	for _, prefix := range []string{
		events.EventKind{}.Prefix(), events.DeliveryKind{}.Prefix(), events.MessageKind{}.Prefix(), events.WebhookKind{}.Prefix(), events.ReplayKind{}.Prefix(),
	} {
		if digits, ok := strings.CutPrefix(text, prefix); ok && len(digits) >= leastDigits && len(digits) < 32 && strings.Trim(digits, "0123456789abcdef") == "" {
			return text, true
		}
	}
	return "", false
}

func parsed[K events.Kind](s string) (string, bool) {
	id, err := events.Parse[K](strings.ToLower(s))
	return id.String(), err == nil
}
