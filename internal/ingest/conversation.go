package ingest

import (
	"slices"
	"strings"

	"github.com/fanmail-dev/fanmail/events"
	"github.com/fanmail-dev/fanmail/internal/mailbox"
	"github.com/fanmail-dev/fanmail/internal/mailparse"
)

// maxNamed is how many Message-IDs place a mail in a conversation: its own, the
// nearest that it names, and the root.
const maxNamed = 20

// readConversation reads what places the mail in a conversation. named are
// Message-IDs, of which any may be known: the mail's own, then from the nearest to
// the root. root names the conversation if none is known. Both are empty for a mail
// that neither has nor names a Message-ID.
func (p *parsed) readConversation() {
	answered := namedIn(p.header.Get("In-Reply-To"))
	if p.original != "" {
		answered = append(answered, p.original) // a report belongs to the mail that it is about
	}
	references := namedIn(mailparse.Cut(p.header.Get("References"), mailparse.MaxField))
	all := append([]string{p.messageID}, answered...)
	for _, id := range slices.Backward(references) {
		all = append(all, id)
	}
	switch {
	case len(references) > 0:
		p.root = references[0]
	case len(answered) > 0:
		p.root = answered[0]
	default:
		p.root = p.messageID
	}
	if p.root == "" {
		return
	}
	seen := map[string]bool{"": true, p.root: true}
	for _, id := range all {
		if len(p.named) == maxNamed-1 {
			break
		}
		if !seen[id] {
			seen[id] = true
			p.named = append(p.named, id)
		}
	}
	p.named = append(p.named, p.root)
}

// namedIn returns the Message-IDs of a field. From a field without brackets it takes
// what looks like an id, and leaves out prose.
func namedIn(v string) []string {
	list := ids(v)
	if !strings.Contains(v, "<") && len(list) > 1 {
		list = slices.DeleteFunc(list, func(w string) bool { return !strings.Contains(w, "@") })
	}
	for i := range list {
		list[i] = mailparse.Cut(list[i], maxIDBytes)
	}
	return list
}

// conversation is the tenant's name for the mail's thread by its header alone: that
// of the first mail in References, else of the mail that it answers, else its own.
func (p *parsed) conversation(tenant events.TenantID, own events.MessageID) string {
	if p.root == "" {
		return mailbox.NewConversationKey(tenant, own.String()).String()
	}
	return mailbox.NewConversationKey(tenant, p.root).String()
}
