package ingest

import (
	"context"
	"slices"
	"sync"
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
	ctx    context.Context //nolint:containedctx // the span of the mail, for a transaction of several mails
	raw    []byte
	named  []string
	copies []copied

	// The result.
	made  int
	err   error
	alone bool // not committed: it has to wait for another transaction, or its group failed
	done  chan struct{}
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

// add waits until the mail's group has been tried.
func (g *group) add(m *submission) {
	m.done = make(chan struct{})
	g.mu.Lock()
	g.waiting = append(g.waiting, m)
	first := !g.running
	g.running = true
	g.mu.Unlock()
	if first {
		go g.run()
	}
	<-m.done
}

func (g *group) run() {
	for next := g.next(); len(next) > 0; next = g.next() {
		err := g.commit(next)
		for _, m := range next {
			if err != nil {
				m.alone, m.made = true, 0
			}
			close(m.done)
		}
	}
}

// next takes the next group, in the order of arrival. If nothing waits, [group.run] ends.
func (g *group) next() []*submission {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, size, copies, names := 0, 0, 0, 0
	for _, m := range g.waiting {
		size, copies, names = size+len(m.raw), copies+len(m.copies), names+m.names()
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
