package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/fanmail-dev/fanmail/events"
)

// kind is a kind of object: what its ids begin with, and which command lists them. The tag of:"NAME" of an argument or a
// flag names the kind of its ids.
type kind struct{ name, prefix, list string }

var kinds = []kind{
	{"delivery", events.DeliveryKind{}.Prefix(), "fanmail deliveries list"},
	{"erasure", events.ErasureKind{}.Prefix(), "fanmail erasures list"},
	{"event", events.EventKind{}.Prefix(), "fanmail events list"},
	{"key", events.APIKeyKind{}.Prefix(), "fanmail keys list"},
	{"message", events.MessageKind{}.Prefix(), "fanmail events list"},
	{"portal link", events.PortalKind{}.Prefix(), "fanmail portal-links list"},
	{"replay", events.ReplayKind{}.Prefix(), "fanmail replay list"},
	{"tenant", events.TenantKind{}.Prefix(), "fanmail tenants list"},
	{"webhook", events.WebhookKind{}.Prefix(), "fanmail webhooks list"},
}

// checkIDs returns an error for the first id on the command line that is of another kind than its argument or flag. The
// API would only say that there is no such object.
func checkIDs(command *kong.Context) error {
	for _, p := range command.Path {
		value := p.Positional
		if p.Flag != nil {
			value = p.Flag.Value
		}
		if value == nil || value.Tag.Get("of") == "" {
			continue
		}
		given := reflect.Indirect(value.Target)
		ids := []string{given.String()}
		if given.Kind() == reflect.Slice {
			ids, _ = given.Interface().([]string)
		}
		for _, id := range ids {
			if err := checkID(value.ShortSummary(), value.Tag.Get("of"), id); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkID(where, of, id string) error {
	var want kind
	for _, k := range kinds {
		if k.name == of {
			want = k
		}
	}
	if strings.HasPrefix(id, want.prefix) {
		return nil
	}
	for _, k := range kinds {
		if strings.HasPrefix(id, k.prefix) {
			return fmt.Errorf("%s: %s is the id of %s; it must be the id of %s (%s…), which `%s` shows", where, printable(id), one(k.name), one(of), want.prefix, want.list)
		}
	}
	return fmt.Errorf("%s: %q is not the id of %s (%s…), which `%s` shows", where, printable(id), one(of), want.prefix, want.list)
}

// one puts the article before a kind.
func one(name string) string {
	if name == "event" {
		return "an event"
	}
	return "a " + name
}
