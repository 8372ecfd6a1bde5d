package ingest

import (
	"context"
	"slices"
	"sync"

	"github.com/fanmail-dev/fanmail/events"
)

// Bounds of one group of mails. A larger mail is committed alone, so that no small one waits for it.
const (
	groupedMail  = 64 << 10
	groupBytes   = 2 << 20
	groupCopies  = 200
	groupedNames = 400 // Message-IDs, for each of which a transaction may hold a lock
)

// submission is a mail with its copies, on the way into the database.
type submission struct {
	mail

	ctx    context.Context //nolint:containedctx // the span of the mail, for a transaction of several mails
	rawID  events.ID       // of the raw mail's row, in each transaction that inserts it
	named  []string
	copies []copied

	// The result.
	made   int
	hooked []string // agents with a webhook that have a new message
	err    error
	alone  bool // not committed: it has to wait for another transaction, or its group failed
	// doubtful means that a transaction may have committed it though it failed.
	doubtful bool
	done     chan struct{}
}

func (m *submission) names() int { return len(m.named) * len(m.copies) }

// group commits mails of several sessions in one transaction. While a transaction runs, the next group forms. If a
// group fails, each of its mails is committed alone, so that a mail spoils no other.
type group struct {
	commit func([]*submission) error

	mu      sync.Mutex
	waiting []*submission
	running bool
}

// add returns when the mail's group has been tried. If no group runs, the caller commits its own, so that a mail without
// company passes through no other goroutine.
func (g *group) add(m *submission) {
	m.done = make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	first := !g.running
	g.running = true
	g.mu.Unlock()
	if !first {
		<-m.done
		return
	}
	g.try(g.next())
	if next := g.next(); len(next) > 0 {
		go g.run(next)
	}
}

// run commits the group and all that form meanwhile.
func (g *group) run(next []*submission) {
	for ; len(next) > 0; next = g.next() {
		g.try(next)
	}
}

func (g *group) try(mails []*submission) {
	err := g.commit(mails)
	for _, m := range mails {
		if err != nil {
			m.alone, m.made = true, 0
		}
		close(m.done)
	}
}

// next takes the next group, in the order of arrival. If nothing waits, the next mail begins to run groups.
func (g *group) next() []*submission {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size, copies, names := 0, int64(0), 0, 0
	for _, m := range g.waiting {
		size, copies, names = size+m.size, copies+len(m.copies), names+m.names()
		if n > 0 && (size > groupBytes || copies > groupCopies || names > groupedNames) {
			break
		}
		n++
	}
	next := slices.Clone(g.waiting[:n])
	g.waiting = slices.Delete(g.waiting, 0, n)
	g.running = n > 0
	return next
}
